"""The inbox in real browsers: a registration appears in both, one claims, the other shows it; and on a telephone."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import update

from core.clock import utc_now
from core.database import unit_of_work
from models import AuthSession
from services import users
from services.permissions import Role
from tests.admin.browser import Browser, find_chromium
from tests.api.processes import ApiProcess
from tests.consultants.conftest import customer_waits, rows, tell
from tests.support.waiting import wait_until

PASSWORD = "a long enough password"
# Before the page's own script: its sockets within reach, to lose one.
KEEP_SOCKETS = """
window.sockets = [];
window.WebSocket = class extends WebSocket { constructor(...given) { super(...given); sockets.push(this); } };
"""


@pytest.fixture
def api(database: str, tmp_path: Path) -> Iterator[ApiProcess]:
    process = ApiProcess(tmp_path / "api.log")
    yield process
    process.stop()


def consultant(name: str) -> str:
    users.create_staff_user(name, SecretStr(PASSWORD), [Role.CONSULTANT], actor="test")
    return name


def sign_in(browser: Browser, api: ApiProcess, name: str) -> None:
    browser.open(f"{api.url}/inbox")
    browser.fill("input[name=username]", name)
    browser.fill("input[name=password]", PASSWORD)
    browser.click("main form button")
    wait_until(lambda: browser.run("document.querySelector('#link').className.includes('is-online')"))


@pytest.mark.timeout(240)
def test_two_inboxes_see_a_customer_and_who_takes_them(api: ApiProcess, tmp_path: Path) -> None:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no chromium on this machine")
    with Browser(executable) as li, Browser(executable) as wang:
        for browser, name in ((li, "Li"), (wang, "Wang")):
            sign_in(browser, api, consultant(name))
            assert browser.path() == "/inbox"
        wait_until(lambda: rows("SELECT count(DISTINCT consultant_id) FROM consultant_connections") == [(2,)])
        conversation = customer_waits(username="小美 <b>&", interests=["皮肤管理"])
        assert len(tell(conversation)) == 2
        for browser in (li, wang):
            wait_until(lambda: "小美 <b>&" in browser.text("#waiting"), timeout_seconds=2)  # noqa: B023 - called at once
        wait_until(lambda: rows("SELECT count(*) FROM notifications WHERE status = 'seen'") == [(2,)])
        for browser in (li, wang):
            browser.run("document.querySelector('#waiting button').click()")
            wait_until(lambda: browser.run("!document.querySelector('#claim').hidden"))  # noqa: B023 - called at once
        li.run("document.querySelector('#claim').click()")
        wait_until(lambda: "Li" in wang.text("#holder"), timeout_seconds=2)
        wait_until(lambda: "小美" in li.text("#mine"))
        assert wang.run("document.querySelector('#claim').hidden && document.querySelector('#reply').hidden") is True
        assert wang.text("#count-waiting") == "0"
        li.fill("#words", "您好，我是小李")
        li.run("document.querySelector('#reply button').click()")
        wait_until(lambda: "您好，我是小李" in li.text("#messages"))
        assert rows("SELECT content ->> 'text', sender_type FROM messages") == [("您好，我是小李", "consultant")]
        wang.run(
            "(s => { s.value = 'away'; s.dispatchEvent(new Event('change')); })(document.querySelector('#presence'))"
        )
        wait_until(lambda: rows("SELECT count(*) FROM consultants WHERE away_since IS NOT NULL") == [(1,)])
        li.screenshot(tmp_path / "inbox.png")
        li.size(390, 800)
        assert li.run("document.documentElement.scrollWidth") <= 390
        li.screenshot(tmp_path / "inbox-phone.png")
        assert li.errors == []
        assert wang.errors == []


def test_the_page_is_for_consultants_and_its_token_for_its_own_script(api: ApiProcess) -> None:
    consultant("Li")
    users.create_staff_user("Ops", SecretStr(PASSWORD), [Role.OPERATOR], actor="test")
    with httpx.Client(base_url=api.url) as stranger:
        answer = stranger.get("/inbox")
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login?next=/inbox")
        assert stranger.get("/inbox/token").status_code == 401
    for name, status in (("Li", 200), ("Ops", 403)):
        with httpx.Client(base_url=api.url) as client:
            form = client.get("/admin/login").text
            token = form.split('name="csrf_token" value="')[1].split('"')[0]
            body = {"csrf_token": token, "username": name, "password": PASSWORD, "next": "/inbox"}
            assert client.post("/admin/login", data=body).headers["location"] == "/inbox"
            page = client.get("/inbox")
            assert page.status_code == status
            assert page.headers["content-security-policy"].startswith("default-src 'self';")
            assert "<script>" not in page.text
            assert " style=" not in page.text
            assert client.get("/inbox/token").status_code == status
            other = client.get("/inbox/token", headers={"sec-fetch-site": "cross-site"})
            assert other.status_code == 403
            assert (
                client.get("/inbox", cookies={"anmei_lang": "en"}).text.count("Waiting customers")
                == (status == 200) * 2
            )


def expires_in_hours() -> float:
    return float(rows("SELECT extract(epoch FROM max(expires_at) - now()) / 3600 FROM auth_sessions")[0][0])


def nearly_over() -> None:
    """Let the only session end in an hour."""
    with unit_of_work() as session:
        session.execute(update(AuthSession).values(expires_at=utc_now() + timedelta(hours=1)))


def test_the_sessions_life_is_in_the_hands_of_a_person(api: ApiProcess) -> None:
    consultant("Li")
    with httpx.Client(base_url=api.url) as client:
        token = client.get("/admin/login").text.split('name="csrf_token" value="')[1].split('"')[0]
        body = {"csrf_token": token, "username": "Li", "password": PASSWORD, "next": "/inbox"}
        assert client.post("/admin/login", data=body).status_code == 303
        nearly_over()
        # As the page and its service worker ask by themselves, and everything they then do.
        for _ in range(3):
            access = client.get("/inbox/token").json()["access_token"]
            headers = {"Authorization": f"Bearer {access}"}
            assert client.get("/api/v1/conversations?view=waiting", headers=headers).status_code == 200
        assert client.get("/inbox/worker.js").status_code == 200
        assert expires_in_hours() < 1
        for path in ("/inbox/token?acted", "/inbox"):
            nearly_over()
            assert client.get(path).status_code == 200
            assert 11.9 < expires_in_hours() < 12.1
        with unit_of_work() as session:
            session.execute(update(AuthSession).values(expires_at=utc_now() - timedelta(seconds=1)))
        # A script is told so, not sent to a page; and what is over is not brought back by acting.
        assert client.get("/inbox/token?acted").status_code == 401
        assert client.get("/inbox/token").status_code == 401


@pytest.mark.timeout(120)
def test_an_inbox_nobody_sits_at_lets_its_session_end_and_a_click_keeps_it(api: ApiProcess) -> None:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no chromium on this machine")
    with Browser(executable) as li:
        li.send("Page.addScriptToEvaluateOnNewDocument", source=KEEP_SOCKETS)
        sign_in(li, api, consultant("Li"))
        nearly_over()
        # Customers arrive and are shown, the connection is lost and comes back: nobody did anything.
        tell(customer_waits(username="小美", interests=["皮肤管理"]))
        wait_until(lambda: "小美" in li.text("#waiting"))
        wait_until(lambda: rows("SELECT count(*) FROM notifications WHERE status = 'seen'") == [(1,)])
        li.run("sockets[0].close()")
        wait_until(
            lambda: li.run("sockets.length === 2 && document.querySelector('#link').className.includes('online')")
        )
        assert expires_in_hours() < 1
        li.run("document.querySelector('#waiting button').click()")
        wait_until(lambda: expires_in_hours() > 11.9)
        assert li.errors == []
