"""Push channels over HTTP: one's own and everybody's, addresses never shown, tests sent for real."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from core.ids import new_id
from services import push_channels, push_settings
from tests.api.conftest import Person, SignIn
from tests.api.processes import ApiProcess
from tests.consultants.browser import Browser
from tests.consultants.hostile_receiver import hostile_receiver
from tests.consultants.receiver import Receiver, receiving
from tests.support.waiting import wait_until

OWN = "/api/v1/consultants/me/channels"


@pytest.fixture
def receiver(database: str) -> Iterator[Receiver]:
    push_settings.allow_loopback(actor="test")
    with receiving() as receiver:
        yield receiver


def test_a_consultant_adds_tries_and_removes_a_channel(
    client: TestClient, consultant: Person, receiver: Receiver
) -> None:
    url = f"{receiver.url}/secret-token"
    added = client.post(OWN, headers=consultant.headers, json={"kind": "http", "name": "my phone", "url": url})
    assert added.status_code == 201
    channel = added.json()["data"]
    assert (channel["kind"], channel["name"], channel["enabled"], channel["last_success_at"]) == (
        "http",
        "my phone",
        True,
        None,
    )
    tried = client.post(f"{OWN}/{channel['id']}/test", headers=consultant.headers).json()["data"]
    assert tried == {"sent": True, "error_code": None, "error": None}
    assert json.loads(receiver.received[0].body)["test"] is True
    listed = client.get(OWN, headers=consultant.headers)
    assert listed.json()["data"][0]["last_success_at"] is not None
    assert "secret-token" not in listed.text + added.text
    receiver.always["/secret-token"] = 410
    gone = client.post(f"{OWN}/{channel['id']}/test", headers=consultant.headers).json()["data"]
    assert (gone["sent"], gone["error_code"]) == (False, "PUSH_GONE")
    shown = client.get(OWN, headers=consultant.headers).json()["data"][0]
    assert shown["enabled"] is False
    assert "410" in shown["disabled_reason"]
    again = client.patch(f"{OWN}/{channel['id']}", headers=consultant.headers, json={"enabled": True}).json()["data"]
    assert (again["enabled"], again["disabled_reason"]) == (True, None)
    assert client.delete(f"{OWN}/{channel['id']}", headers=consultant.headers).status_code == 200
    assert client.get(OWN, headers=consultant.headers).json()["data"] == []


def test_a_browser_subscribes_with_the_installations_key(
    client: TestClient, consultant: Person, receiver: Receiver
) -> None:
    key = client.get("/api/v1/consultants/me/webpush-key", headers=consultant.headers).json()["data"]["public_key"]
    assert len(key) == 87
    browser = Browser(f"{receiver.url}/endpoint")
    body = {"kind": "webpush", "subscription": browser.subscription}
    channel = client.post(OWN, headers=consultant.headers, json=body).json()["data"]
    assert client.post(f"{OWN}/{channel['id']}/test", headers=consultant.headers).json()["data"]["sent"] is True
    assert browser.read(receiver.received[0])["test"] is True


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "webpush", "url": "https://example.com"},
        {"kind": "http"},
        {"kind": "http", "url": "file:///etc/passwd"},
        {"kind": "sms", "url": "https://example.com"},
        {"kind": "apprise", "url": "nothing://at-all"},
    ],
)
def test_what_is_no_channel_is_refused_and_not_repeated(
    client: TestClient, consultant: Person, body: dict[str, str]
) -> None:
    answer = client.post(OWN, headers=consultant.headers, json=body)
    assert answer.status_code == 422
    assert body.get("url", "never") not in answer.text
    assert client.get(OWN, headers=consultant.headers).json()["data"] == []


def test_nobody_reaches_a_colleagues_channel_but_administrators_do(
    client: TestClient, consultant: Person, admin: Person, sign_in: SignIn
) -> None:
    colleague = sign_in("consultant")
    body = {"kind": "http", "url": "https://example.com/push"}
    channel = client.post(OWN, headers=consultant.headers, json=body).json()["data"]
    for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/test")):
        answer = client.request(method, f"{OWN}/{channel['id']}{path}", headers=colleague.headers, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "CHANNEL_NOT_FOUND")
    everybody = client.get("/api/v1/consultants", headers=admin.headers).json()["data"]
    (owner,) = [one["consultant_id"] for one in everybody if one["display_name"] == consultant.username]
    theirs = f"/api/v1/consultants/{owner}/channels"
    assert [one["id"] for one in client.get(theirs, headers=admin.headers).json()["data"]] == [channel["id"]]
    assert client.get(theirs, headers=colleague.headers).status_code == 403
    assert client.delete(f"{theirs}/{channel['id']}", headers=admin.headers).status_code == 200
    assert client.get(f"/api/v1/consultants/{new_id()}/channels", headers=admin.headers).status_code == 404


def test_an_administrator_says_what_a_consultant_is_matched_by(
    client: TestClient, consultant: Person, admin: Person
) -> None:
    everybody = client.get("/api/v1/consultants", headers=admin.headers).json()["data"]
    path = f"/api/v1/consultants/{everybody[0]['consultant_id']}/profile"
    own = "/api/v1/consultants/me/profile"
    nothing = {"languages": [], "skills": [], "working_hours": None, "is_supervisor": False}
    assert client.get(own, headers=consultant.headers).json()["data"] == nothing
    wanted = {"languages": ["zh", "en"], "skills": ["skin"], "is_supervisor": True}
    hours = {"timezone": "Asia/Shanghai", "weekly": {"sat": ["10:00-16:00"]}, "holidays": "CN", "days_off": []}
    changed = client.put(path, headers=admin.headers, json=wanted | {"working_hours": hours})
    assert changed.json()["data"] == wanted | {"working_hours": hours}
    assert client.get(own, headers=consultant.headers).json()["data"] == wanted | {"working_hours": hours}
    assert client.put(path, headers=consultant.headers, json=wanted).status_code == 403
    wrong = client.put(path, headers=admin.headers, json={"working_hours": {"timezone": "Mars/Olympus"}})
    assert wrong.status_code == 422
    assert client.put(path, headers=admin.headers, json={"languages": ["Chinese"]}).status_code == 422
    assert client.put(path, headers=admin.headers, json={}).json()["data"] == nothing


def test_tests_that_hang_leave_the_api_to_everybody_else(sign_in: SignIn, tmp_path: Path) -> None:
    push_settings.allow_loopback(actor="test")
    people = [sign_in("consultant") for _ in range(push_channels.TESTS_AT_ONCE + 2)]
    with hostile_receiver() as hostile, ApiProcess(tmp_path / "api.log") as api:

        def asked(person: Person, method: str, path: str, body: dict[str, str] | None = None) -> httpx.Response:
            return httpx.request(method, f"{api.url}{path}", headers=person.headers, json=body, timeout=30)

        def test_of(person: Person, path: str) -> str:
            added = asked(person, "POST", OWN, {"kind": "http", "url": f"{hostile.url}/{path}"})
            return f"{OWN}/{added.json()['data']['id']}/test"

        tests = [(one, test_of(one, "dripping-head")) for one in people] * 10
        with ThreadPoolExecutor(len(tests)) as pool:
            answers = [pool.submit(asked, one, "POST", path) for one, path in tests]
            hanging = push_channels.TESTS_AT_ONCE
            wait_until(lambda: sum(one.done() for one in answers) == len(answers) - hanging, timeout_seconds=6)
            assert hostile.held() == hanging
            began = time.monotonic()
            assert asked(people[0], "GET", OWN).status_code == 200
            assert time.monotonic() - began < 1
        refused = [one.result() for one in answers if one.result().status_code == 429]
        assert len(refused) == len(answers) - hanging
        assert {(one.json()["code"], one.headers["retry-after"]) for one in refused} == {("PUSH_TEST_BUSY", "8")}
        tried = [one.result().json()["data"] for one in answers if one.result().status_code == 200]
        assert [one["error_code"] for one in tried] == ["PUSH_TIMED_OUT"] * hanging
        assert hostile.asked("/dripping-head") == hanging
        # There is room again.
        assert asked(people[0], "POST", test_of(people[0], "dripping-body")).json()["data"]["sent"] is True
