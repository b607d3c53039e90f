"""The pages in a real browser: signing in, every page, main actions by clicks, and what the pages load and say."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from core.database import unit_of_work
from models import DeadLetter
from services import automation, mcp_seed, users
from services.permissions import Role
from tests.admin.browser import Browser, find_chromium
from tests.admin.conftest import PASSWORD, Story
from tests.support.waiting import wait_until

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

PAGES = ("dashboard", "journeys", "dead-letters", "settings/registration-automation", "templates", "agents", "mcp")
PAGES += ("mcp/calls", "consultants", "webhook", "users", "audit", "account")
# What axe calls by these names, as far as it can be seen without it: names of controls, languages, headings, ids.
AUDIT = """(() => {
  const wrong = [];
  const seen = {};
  for (const one of document.querySelectorAll("[id]")) { if (seen[one.id]) wrong.push("id twice: " + one.id); seen[one.id] = 1; }
  for (const one of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!one.labels?.length && !one.getAttribute("aria-label")) wrong.push("no label: " + one.name);
  for (const one of document.querySelectorAll("a, button"))
    if (!one.textContent.trim() && !one.getAttribute("aria-label")) wrong.push("no name: " + one.outerHTML.slice(0, 80));
  for (const one of document.querySelectorAll("[aria-describedby], [aria-labelledby]"))
    for (const id of (one.getAttribute("aria-describedby") || one.getAttribute("aria-labelledby")).split(" "))
      if (!document.getElementById(id)) wrong.push("no such id: " + id);
  if (document.querySelectorAll("h1").length !== 1) wrong.push("h1: " + document.querySelectorAll("h1").length);
  if (document.querySelectorAll("main").length !== 1) wrong.push("main");
  if (!document.documentElement.lang || !document.title) wrong.push("lang or title");
  return wrong;
})()"""


@pytest.fixture(scope="module")
def site(app: FastAPI) -> Iterator[str]:
    """The application on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, timeout_seconds=20)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, site: str) -> Iterator[Browser]:
    """A browser signed in as an administrator; afterwards: nothing left the origin, nothing failed on a page."""
    users.create_staff_user("browser", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    chromium.send("Network.clearBrowserCookies")
    chromium.send("Emulation.setScriptExecutionDisabled", value=False)
    chromium.size(1280)
    chromium.requests.clear()
    chromium.errors.clear()
    chromium.open(f"{site}/admin/login")
    chromium.fill("#f-username", "browser")
    chromium.fill("#f-password", PASSWORD)
    chromium.click("main form button")
    assert chromium.path() == "/admin/dashboard"
    yield chromium
    hosts = {urlsplit(url).netloc for url in chromium.requests if not url.startswith("data:")}
    assert hosts == {urlsplit(site).netloc}
    assert chromium.errors == []


@pytest.mark.parametrize(("language", "width"), [("zh", 390), ("en", 1280)])
def test_every_page_fits_names_its_controls_and_is_in_one_language(
    browser: Browser, site: str, language: str, width: int
) -> None:
    story = Story()
    mcp_seed.ensure_seed()
    browser.size(width, dark=language == "en")
    browser.open(f"{site}/admin/language/{language}?next=/admin/account")
    own = (f"journeys/{story.journey.id}", f"dead-letters/{story.letter.id}", f"agents/{story.agent.id}")
    for page in (*PAGES, *own):
        browser.open(f"{site}/admin/{page}")
        assert browser.run(AUDIT) == [], page
        assert browser.run("document.documentElement.lang") == {"zh": "zh-CN", "en": "en"}[language]
        assert browser.run("document.documentElement.scrollWidth") <= width, page


def test_an_operator_repairs_by_clicks(browser: Browser, site: str) -> None:
    story = Story()
    browser.open(f"{site}/admin/dead-letters")
    browser.click("main table a")
    assert browser.path() == f"/admin/dead-letters/{story.letter.id}"
    browser.fill("#f-reason", "nobody there")
    browser.click(".button.danger")
    browser.click(".button.danger")
    assert browser.path() == f"/admin/journeys/{story.journey.id}"
    with unit_of_work() as session:
        assert session.get_one(DeadLetter, story.letter.id).reason == "nobody there"


def test_a_setting_is_changed_without_javascript(browser: Browser, site: str) -> None:
    browser.open(f"{site}/admin/settings/registration-automation")
    browser.fill("[name='retry.max_retries']", "7")
    browser.fill("#f-reason", "a test")
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    browser.click(".button.primary")
    assert browser.path() == "/admin/settings/registration-automation"
    assert browser.run("document.querySelector('.flash.good') !== null")
    assert automation.FAMILY.stored().values.retry.max_retries == 7


def test_a_page_left_open_follows_the_record(browser: Browser, site: str) -> None:
    browser.open(f"{site}/admin/journeys")
    assert "小美" not in browser.text("main")
    began = time.monotonic()
    Story()
    wait_until(lambda: "小美" in browser.text("main"), timeout_seconds=8, poll_seconds=0.2)
    assert time.monotonic() - began < 8


def test_the_keyboard_reaches_the_content_first(browser: Browser, site: str) -> None:
    browser.open(f"{site}/admin/journeys")
    for kind in ("keyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_screenshot_can_be_taken(browser: Browser, site: str, tmp_path: Path) -> None:
    browser.open(f"{site}/admin/dashboard")
    browser.screenshot(tmp_path / "dashboard.png")
    assert (tmp_path / "dashboard.png").read_bytes().startswith(b"\x89PNG")
