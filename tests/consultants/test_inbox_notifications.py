"""The inbox's notifications in a real browser: web push with its service worker, sound, clicks, and one's own channels."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

from services import delivery
from tests.admin.browser import Browser, find_chromium
from tests.api.processes import ApiProcess
from tests.consultants.browser import Browser as Subscription
from tests.consultants.conftest import customer_waits, rows, tell
from tests.consultants.receiver import Receiver
from tests.consultants.test_delivery import ids_of
from tests.consultants.test_inbox import api, consultant, sign_in
from tests.support.waiting import wait_until

__all__ = ["api"]

pytestmark = pytest.mark.timeout(240)
ANSWER_SECONDS = 20.0
# Counts what is played, and gives a subscription where the browser would ask its maker's push service for one.
PREPARED = """
window.tones = 0;
const created = AudioContext.prototype.createOscillator;
AudioContext.prototype.createOscillator = function () { window.tones += 1; return created.call(this); };
const given = %s;
PushManager.prototype.subscribe = async function (options) {
  window.subscribedWith = options;
  window.subscription = { toJSON: () => given, unsubscribe: async () => { window.subscription = null; return true; } };
  return window.subscription;
};
PushManager.prototype.getSubscription = async () => window.subscription ?? null;
"""


@pytest.fixture
def executable() -> str:
    found = find_chromium()
    if found is None:
        pytest.skip("no chromium on this machine")
    return found


def in_chinese(browser: Browser, api: ApiProcess) -> None:
    browser.open(f"{api.url}/admin/language/zh?next=/inbox")


def allow(browser: Browser, api: ApiProcess) -> None:
    browser.send("Browser.grantPermissions", origin=api.url, permissions=["notifications"])


def open_channels(browser: Browser) -> None:
    browser.run("document.querySelector('#channels').open = true")


def state(browser: Browser) -> str:
    return str(browser.run("document.querySelector('#push-state').dataset.state"))


class Worker:
    """The page's service worker, spoken to over the browser's protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    def run(self, expression: str) -> Any:
        self._number += 1
        parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        self._socket.send(json.dumps({"id": self._number, "method": "Runtime.evaluate", "params": parameters}))
        while (message := json.loads(self._socket.recv(timeout=ANSWER_SECONDS))).get("id") != self._number:
            pass
        assert "exceptionDetails" not in message["result"], message["result"]
        return message["result"]["result"].get("value")


@contextmanager
def worker_of(browser: Browser) -> Iterator[Worker]:
    port = (Path(browser._folder) / "DevToolsActivePort").read_text().splitlines()[0]

    def found() -> str | None:
        with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            targets = json.load(answer)
        return next((one["webSocketDebuggerUrl"] for one in targets if one["type"] == "service_worker"), None)

    with connect(str(wait_until(found))) as socket:
        yield Worker(socket)


def push(browser: Browser, api: ApiProcess, text: str) -> None:
    """Have the browser deliver a push, as it does when its push service wakes it."""
    browser.send("ServiceWorker.enable")

    def registrations() -> list[str]:
        browser.run("1")
        told = [one["params"] for one in browser._events if one["method"] == "ServiceWorker.workerRegistrationUpdated"]
        return [one["registrationId"] for each in told for one in each["registrations"] if not one["isDeleted"]]

    registration = wait_until(registrations)[-1]
    browser.send("ServiceWorker.deliverPushMessage", origin=api.url, registrationId=registration, data=text)


def test_a_browser_subscribes_is_pushed_to_and_opens_the_conversation(
    api: ApiProcess, executable: str, receiver: Receiver, tmp_path: Path
) -> None:
    subscription = Subscription(f"{receiver.url}/wpush")
    with Browser(executable) as browser:
        browser.send("Page.addScriptToEvaluateOnNewDocument", source=PREPARED % json.dumps(subscription.subscription))
        allow(browser, api)
        sign_in(browser, api, consultant("Li"))
        wait_until(lambda: state(browser) == "pushOff")
        open_channels(browser)
        browser.run("document.querySelector('#push-on').click()")
        wait_until(lambda: rows("SELECT kind, enabled FROM push_channels") == [("webpush", True)])
        key = browser.run("window.subscribedWith.applicationServerKey")
        assert (len(key), browser.run("window.subscribedWith.userVisibleOnly")) == (87, True)
        wait_until(lambda: state(browser) == "pushOn")
        browser.screenshot(tmp_path / "channels.png")
        # Nobody is online any more: a push goes out, encrypted for this browser.
        browser.open(f"{api.url}/admin/account")
        wait_until(
            lambda: rows("SELECT count(*) FROM consultant_connections WHERE expires_at > now()") == [(0,)],
            timeout_seconds=20,
        )
        conversation = customer_waits(username="小美")
        told = tell(conversation)
        assert [one.channel for one in told] == ["push"]
        assert delivery.deliver(ids_of(told)) == 1
        said = subscription.read(receiver.received[0])
        assert said["conversation_id"] == str(conversation.id)
        browser.open(f"{api.url}/inbox")
        push(browser, api, json.dumps(said))
        with worker_of(browser) as worker:
            shown = (
                "self.registration.getNotifications().then((all) => all.map((one) => [one.title, one.body, one.tag]))"
            )
            wait_until(lambda: worker.run(shown) == [[said["title"], said["body"], str(conversation.id)]])
            # The browser's session said that it came.
            wait_until(lambda: rows("SELECT status FROM notifications") == [("delivered",)])
            worker.run(
                "self.registration.getNotifications().then(([one]) => "
                "self.dispatchEvent(new NotificationEvent('notificationclick', { notification: one })))"
            )
            # Asked more often, the page does not come to what its worker told it.
            wait_until(lambda: browser.path() == f"/inbox/conversations/{conversation.id}", poll_seconds=0.2)
            wait_until(lambda: "小美" in browser.text("#who"))
            wait_until(lambda: rows("SELECT status FROM notifications") == [("seen",)])
            assert worker.run(shown) == []
        assert browser.errors == []


def test_turning_push_off_forgets_the_channel(api: ApiProcess, executable: str, receiver: Receiver) -> None:
    subscription = Subscription(f"{receiver.url}/wpush")
    with Browser(executable) as browser:
        browser.send("Page.addScriptToEvaluateOnNewDocument", source=PREPARED % json.dumps(subscription.subscription))
        allow(browser, api)
        sign_in(browser, api, consultant("Li"))
        open_channels(browser)
        wait_until(lambda: state(browser) == "pushOff")
        browser.run("document.querySelector('#push-on').click()")
        wait_until(lambda: state(browser) == "pushOn")
        assert rows("SELECT count(*) FROM push_channels") == [(1,)]
        browser.run("document.querySelector('#push-off').click()")
        wait_until(lambda: state(browser) == "pushOff")
        assert rows("SELECT count(*) FROM push_channels") == [(0,)]
        assert browser.errors == []


def test_whether_push_is_possible_is_explained_in_both_languages(api: ApiProcess, executable: str) -> None:
    name = consultant("Li")
    texts = {}
    with Browser(executable) as browser:
        browser.send("Browser.setPermission", permission={"name": "notifications"}, setting="denied", origin=api.url)
        sign_in(browser, api, name)
        for language in ("zh", "en"):
            browser.open(f"{api.url}/admin/language/{language}?next=/inbox")
            wait_until(lambda: state(browser) == "pushDenied")
            open_channels(browser)
            texts[language] = browser.text("#push-state")
            assert browser.run(
                "document.querySelector('#push-on').hidden && document.querySelector('#push-off').hidden"
            )
        browser.send("Browser.setPermission", permission={"name": "notifications"}, setting="prompt", origin=api.url)
        browser.open(f"{api.url}/inbox")
        wait_until(lambda: state(browser) == "pushDefault")
        assert browser.run("document.querySelector('#push-on').hidden") is False
    assert texts["zh"].startswith("浏览器已阻止本站的通知")
    assert texts["en"].startswith("The browser blocks notifications")
    # The inbox's language is the one pushes are in from now on.
    assert rows("SELECT locale FROM users WHERE username = 'Li'") == [("en",)]


def test_a_new_customer_sounds_and_is_notified_in_a_hidden_tab(api: ApiProcess, executable: str) -> None:
    with Browser(executable) as browser:
        browser.send("Page.addScriptToEvaluateOnNewDocument", source=PREPARED % "null")
        allow(browser, api)
        in_chinese(browser, api)
        sign_in(browser, api, consultant("Li"))
        wait_until(lambda: rows("SELECT count(*) FROM consultant_connections WHERE expires_at > now()") != [(0,)])
        tell(customer_waits(username="静"))
        wait_until(lambda: "静" in browser.text("#waiting"))
        assert browser.run("window.tones") == 0
        browser.run(
            "window.notified = []; window.Notification = class { constructor(...all) { window.notified.push(all); } static permission = 'granted'; }"
        )
        browser.run("document.querySelector('#sound').click()")
        tell(customer_waits(username="小美"))
        wait_until(lambda: browser.run("window.tones") == 1)
        # In a tab that is looked at, the list is notice enough.
        assert browser.run("window.notified") == []
        browser.run("Object.defineProperty(document, 'hidden', { get: () => true })")
        conversation = customer_waits(username="小丽")
        tell(conversation)
        wait_until(lambda: browser.run("window.tones") == 2)
        assert browser.run("window.notified.map(([title, { body, tag }]) => [title, body, tag])") == [
            ["新客户注册", "小丽", str(conversation.id)]
        ]
        wait_until(lambda: rows("SELECT count(*) FROM notifications WHERE status = 'delivered'") == [(1,)])


def test_a_consultant_sees_how_their_channels_fared(
    api: ApiProcess, executable: str, receiver: Receiver, tmp_path: Path
) -> None:
    with Browser(executable) as browser:
        in_chinese(browser, api)
        sign_in(browser, api, consultant("Li"))
        open_channels(browser)
        wait_until(lambda: browser.run("!document.querySelector('#channel-none').hidden"))
        browser.fill("#channel-new [name=url]", f"{receiver.url}/secret-token")
        browser.fill("#channel-new [name=name]", "手机")
        browser.run("document.querySelector('#channel-new button').click()")
        wait_until(lambda: "手机" in browser.text("#channel-list"))
        assert "尚未成功发送" in browser.text("#channel-list")
        browser.run("document.querySelector('#channel-list button').click()")
        wait_until(lambda: "测试消息已发出" in browser.text("#channel-said"))
        wait_until(lambda: "上次成功" in browser.text("#channel-list"))
        receiver.always["/secret-token"] = 410
        browser.run("document.querySelector('#channel-list button').click()")
        wait_until(lambda: "已自动停用" in browser.text("#channel-list"))
        assert browser.text("#channel-said") == "操作失败：接收方已不存在，该方式已停用"
        browser.screenshot(tmp_path / "channels.png")
        browser.size(390, 800)
        assert browser.run("document.documentElement.scrollWidth") <= 390
        browser.run("document.querySelectorAll('#channel-list button')[1].click()")
        wait_until(lambda: rows("SELECT enabled, disabled_reason FROM push_channels") == [(True, None)])
        assert "secret-token" not in browser.text()
        browser.fill("#channel-new [name=url]", "http://169.254.169.254/latest/meta-data")
        browser.run("document.querySelector('#channel-new button').click()")
        wait_until(lambda: "内部网络地址" in browser.text("#channel-said"))
        browser.run("document.querySelectorAll('#channel-list button')[2].click()")
        wait_until(lambda: rows("SELECT count(*) FROM push_channels") == [(0,)])


def test_the_service_worker_is_for_whoever_asks_and_has_the_strict_policy(api: ApiProcess) -> None:
    with urlopen(f"{api.url}/inbox/worker.js") as answer:
        assert answer.headers["service-worker-allowed"] == "/inbox"
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert answer.headers["cache-control"] == "no-cache"
