"""Delivery states and channels: retries, the next channel, receipts that fail to come, receivers that are gone."""

import json
from collections.abc import Sequence
from uuid import UUID

import pytest
from pydantic import SecretStr, ValidationError

from core.crypto import encrypt
from core.database import unit_of_work
from core.errors import ConflictError, InvalidInputError, NotFoundError
from models import Notification, PushKind
from queries.notifications import record_receipt
from services import automation, delivery, push_channels, push_keys, push_settings
from services.push_channels import ChannelChange
from tasks import sweeping
from tests.consultants.browser import Browser, signed_by
from tests.consultants.conftest import connect, customer_waits, execute, rows, tell
from tests.consultants.receiver import Receiver
from tests.support.factories import create_consultant, create_push_channel, create_user

HTTP = PushKind.HTTP


def ids_of(told: Sequence[Notification]) -> list[UUID]:
    return [one.id for one in told]


def make_due() -> None:
    execute("UPDATE notifications SET due_at = now() WHERE status = 'pending'")


def status() -> tuple[object, ...]:
    return rows("SELECT status, attempts, error_code FROM notifications WHERE channel = 'push'")[0]


def test_a_receiver_that_answers_500_is_tried_again_as_the_policy_says(receiver: Receiver) -> None:
    channel = create_push_channel(create_consultant(), f"{receiver.url}/push/li")
    receiver.answers.extend([500, 503])
    notification = ids_of(tell(customer_waits()))
    assert delivery.deliver(notification) == 0
    assert status() == ("pending", 1, "PUSH_UNAVAILABLE")
    assert rows("SELECT due_at - now() BETWEEN interval '4 s' AND interval '6.1 s' FROM notifications") == [(True,)]
    # Not due yet, so nothing is sent.
    assert delivery.deliver(notification) == 0
    assert len(receiver.received) == 1
    for _ in range(2):
        make_due()
        delivery.deliver(notification)
    assert status() == ("sent", 3, None)
    assert [one.answered for one in receiver.received] == [500, 503, 201]
    # The receiver can tell that these are one push, tried three times.
    assert {one.headers["idempotency-key"] for one in receiver.received} == {str(notification[0])}
    body = json.loads(receiver.received[-1].body)
    assert (body["title"], body["body"]) == ("新客户等待服务", "有新客户注册，请及时响应")
    assert body["link"] == f"/inbox/conversations/{body['conversation_id']}"
    assert body["customer"]["interests"] == ["skin"]
    assert rows("SELECT last_success_at IS NOT NULL, last_error FROM push_channels WHERE id = :i", i=channel.id) == [
        (True, None)
    ]
    assert delivery.deliver(notification) == 0
    assert len(receiver.received) == 3


def test_a_receiver_that_stays_down_gives_the_next_channel_its_turn(receiver: Receiver) -> None:
    consultant = create_consultant()
    create_push_channel(consultant, f"{receiver.url}/down")
    create_push_channel(consultant, f"{receiver.url}/second", position=1)
    create_push_channel(consultant, f"{receiver.url}/third", position=2)
    receiver.always["/down"] = 500
    assert delivery.deliver(ids_of(tell(customer_waits()))) == 1
    assert [one.path for one in receiver.received] == ["/down", "/second"]
    assert status() == ("sent", 1, None)
    assert rows("SELECT last_error, enabled FROM push_channels WHERE position = 0") == [
        ("the push channel answered 500", True)
    ]


@pytest.mark.parametrize("answer", [404, 410])
def test_a_receiver_that_is_gone_is_switched_off_and_not_asked_again(receiver: Receiver, answer: int) -> None:
    consultant = create_consultant()
    channel = create_push_channel(consultant, f"{receiver.url}/gone")
    receiver.always["/gone"] = answer
    assert delivery.deliver(ids_of(tell(customer_waits()))) == 0
    assert status() == ("failed", 1, "PUSH_GONE")
    shown = push_channels.listed(consultant.id)[0]
    assert (shown.enabled, shown.disabled_reason) == (False, shown.last_error)
    assert str(answer) in str(shown.last_error)
    assert tell(customer_waits()) == []
    # Switched on again by the consultant, it is tried like any other.
    push_channels.change(consultant.id, channel.id, ChannelChange(enabled=True), actor="li")
    receiver.always.clear()
    assert delivery.deliver(ids_of(tell(customer_waits()))) == 1


def test_a_browser_can_read_what_it_is_pushed_and_who_signed_it(receiver: Receiver) -> None:
    consultant = create_consultant(user=create_user(username="Li", external_id=None, locale="en-GB"))
    browser = Browser(f"{receiver.url}/wpush/1")
    address = SecretStr(json.dumps(browser.subscription))
    push_channels.add(consultant.id, PushKind.WEBPUSH, address, name="phone", actor="li")
    conversation = customer_waits(username="小美")
    assert delivery.deliver(ids_of(tell(conversation))) == 1
    (push,) = receiver.received
    said = browser.read(push)
    assert said["title"] == "A new customer is waiting"
    assert said["customer"]["username"] == "小美"
    assert said["conversation_id"] == str(conversation.id)
    assert (push.headers["ttl"], push.headers["urgency"]) == ("3600", "high")
    claims = signed_by(push, push_keys.public_key(), receiver.url)
    assert claims["sub"] == "mailto:push@example.com"
    assert "小美".encode() not in push.body


def test_a_browser_that_is_gone_is_switched_off_and_one_that_is_busy_is_not(receiver: Receiver) -> None:
    consultant = create_consultant()
    browsers = [Browser(f"{receiver.url}/wpush/{number}") for number in (1, 2)]
    for browser in browsers:
        push_channels.add(
            consultant.id, PushKind.WEBPUSH, SecretStr(json.dumps(browser.subscription)), name=None, actor="li"
        )
    receiver.always |= {"/wpush/1": 410, "/wpush/2": 429}
    assert delivery.deliver(ids_of(tell(customer_waits()))) == 0
    assert status() == ("pending", 1, "PUSH_UNAVAILABLE")
    assert [one.enabled for one in push_channels.listed(consultant.id)] == [False, True]
    receiver.always = {"/wpush/1": 410}
    make_due()
    assert delivery.deliver([UUID(str(one[0])) for one in rows("SELECT id FROM notifications")]) == 1
    assert len(receiver.at("/wpush/1")) == 1


def test_a_push_that_would_outlive_its_lease_is_not_begun(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    create_push_channel(create_consultant(), f"{receiver.url}/late")
    monkeypatch.setattr(delivery, "TRY_SECONDS", 0.0)
    assert delivery.deliver(ids_of(tell(customer_waits()))) == 0
    assert status() == ("pending", 1, "PUSH_OUT_OF_TIME")
    assert receiver.received == []


def test_the_key_for_browsers_is_made_once_and_stored_encrypted() -> None:
    first = push_keys.public_key()
    assert push_keys.public_key() == first
    private = push_keys.vapid_key().private.get_secret_value()
    ((stored,),) = rows("SELECT private_key_encrypted FROM push_keys")
    assert private not in repr(stored)
    assert len(first) == 87


def test_anything_apprise_speaks_is_pushed_to(receiver: Receiver) -> None:
    consultant = create_consultant()
    url = SecretStr(receiver.url.replace("http://", "json://") + "/apprise")
    push_channels.add(consultant.id, PushKind.APPRISE, url, name="chat", actor="li")
    automation.change({"notification": {"public_url": "https://anmei.example.com"}}, actor="test")
    conversation = customer_waits()
    assert delivery.deliver(ids_of(tell(conversation))) == 1
    said = json.loads(receiver.received[0].body)
    assert said["title"] == "新客户等待服务"
    assert said["message"].splitlines() == [
        "有新客户注册，请及时响应",
        f"https://anmei.example.com/inbox/conversations/{conversation.id}",
    ]
    receiver.always["/apprise"] = 500
    assert delivery.deliver(ids_of(tell(customer_waits()))) == 0
    assert rows("SELECT count(*) FROM notifications WHERE status = 'pending' AND attempts = 1") == [(1,)]


def test_a_socket_that_confirms_nothing_in_time_is_followed_by_a_push(receiver: Receiver) -> None:
    silent, answering, unreachable = create_consultant(), create_consultant(), create_consultant()
    for one in (silent, answering, unreachable):
        connect(one)
    create_push_channel(silent, f"{receiver.url}/silent")
    create_push_channel(answering, f"{receiver.url}/answering")
    told = tell(customer_waits())
    assert {one.channel for one in told} == {"websocket"}
    (confirmed,) = ids_of([one for one in told if one.consultant_id == answering.id])
    # Only where another channel can follow is a receipt waited for.
    assert rows("SELECT receipt_due_at - sent_at FROM notifications WHERE consultant_id = :c", c=unreachable.id) == [
        (None,)
    ]
    with unit_of_work() as session:
        assert record_receipt(session, confirmed, answering.id, seen=False)
    assert delivery.pass_on_silent(most=100) == []
    execute("UPDATE notifications SET receipt_due_at = now() WHERE receipt_due_at IS NOT NULL")
    pushes = delivery.pass_on_silent(most=100)
    assert len(pushes) == 1
    assert delivery.pass_on_silent(most=100) == []
    assert delivery.deliver(pushes) == 1
    assert [one.path for one in receiver.received] == ["/silent"]
    assert rows("SELECT channel, status FROM notifications WHERE consultant_id = :c ORDER BY channel", c=silent.id) == [
        ("push", "sent"),
        ("websocket", "sent"),
    ]


def test_a_customer_who_was_taken_meanwhile_is_not_pushed(receiver: Receiver) -> None:
    consultant = create_consultant()
    connect(consultant)
    create_push_channel(consultant, f"{receiver.url}/late")
    conversation = customer_waits()
    tell(conversation)
    execute("UPDATE conversations SET claimed_by_id = :c WHERE id = :i", c=consultant.id, i=conversation.id)
    execute("UPDATE notifications SET receipt_due_at = now()")
    assert delivery.pass_on_silent(most=100) == []
    assert rows("SELECT channel, receipt_due_at FROM notifications") == [("websocket", None)]


def test_a_consultant_who_was_switched_off_meanwhile_is_not_pushed(receiver: Receiver) -> None:
    gone, here = create_consultant(), create_consultant()
    create_push_channel(gone, f"{receiver.url}/gone")
    create_push_channel(here, f"{receiver.url}/here")
    told = tell(customer_waits())
    assert len(told) == 2
    execute("UPDATE consultants SET enabled = false WHERE id = :c", c=gone.id)
    assert delivery.deliver(ids_of(told)) == 1
    assert [one.path for one in receiver.received] == ["/here"]
    assert rows("SELECT consultant_id = :c, status, error_code FROM notifications ORDER BY status", c=gone.id) == [
        (True, "failed", "NO_CHANNEL"),
        (False, "sent", None),
    ]


def test_the_sweep_finds_the_missing_receipt(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    consultant = create_consultant()
    connect(consultant)
    create_push_channel(consultant, f"{receiver.url}/swept")
    tell(customer_waits())
    execute("UPDATE notifications SET receipt_due_at = now()")
    published: list[UUID] = []
    monkeypatch.setattr(sweeping, "publish_deliveries", published.extend)
    assert sweeping.sweep_once()["notifications"] == 1
    assert delivery.deliver(published) == 1
    assert len(receiver.received) == 1


def test_a_push_is_confirmed_by_its_receiver_and_nobody_else(receiver: Receiver) -> None:
    consultant, other = create_consultant(), create_consultant()
    create_push_channel(consultant, f"{receiver.url}/li")
    (notification,) = ids_of(tell(customer_waits()))
    with pytest.raises(NotFoundError):
        delivery.confirm(notification, consultant.id, seen=False)
    delivery.deliver([notification])
    with pytest.raises(NotFoundError):
        delivery.confirm(notification, other.id, seen=True)
    delivery.confirm(notification, consultant.id, seen=True)
    delivery.confirm(notification, consultant.id, seen=False)
    assert rows("SELECT status, delivered_at IS NOT NULL, seen_at IS NOT NULL FROM notifications") == [
        ("seen", True, True)
    ]


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("http", "ftp://example.com/x"),
        ("http", "no url"),
        ("webpush", "{}"),
        ("webpush", '{"endpoint": "file:///etc/passwd", "keys": {"p256dh": "x", "auth": "y"}}'),
        ("apprise", "nothing://known"),
    ],
)
def test_an_address_that_is_none_of_its_kind_is_refused_without_being_shown(kind: str, url: str) -> None:
    consultant = create_consultant()
    with pytest.raises(InvalidInputError) as refused:
        push_channels.add(consultant.id, PushKind(kind), SecretStr(url), name=None, actor="li")
    assert refused.value.code == "PUSH_BAD_URL"
    assert url not in refused.value.message
    assert push_channels.listed(consultant.id) == []


def test_internal_addresses_are_pushed_to_only_where_the_settings_allow_it(receiver: Receiver) -> None:
    push_settings.change({"internal_networks": []}, actor="test")
    consultant = create_consultant()
    with pytest.raises(InvalidInputError) as refused:
        push_channels.add(consultant.id, HTTP, SecretStr(f"{receiver.url}/in"), name=None, actor="li")
    assert refused.value.code == "PUSH_INTERNAL_ADDRESS"
    # One from before the settings forbade it: it fails for good, as no retry would change anything.
    channel = create_push_channel(consultant, f"{receiver.url}/in")
    assert delivery.deliver(ids_of(tell(customer_waits()))) == 0
    assert status() == ("failed", 1, "PUSH_INTERNAL_ADDRESS")
    assert push_channels.try_out(consultant.id, channel.id).error_code == "PUSH_INTERNAL_ADDRESS"
    assert receiver.received == []
    push_settings.change({"internal_networks": ["127.0.0.1/32"]}, actor="test")
    assert push_channels.try_out(consultant.id, channel.id).sent
    assert len(receiver.received) == 1


def test_what_is_no_network_is_no_setting() -> None:
    for wrong in ("10.0.0.1/8", "everything", ""):
        with pytest.raises(ValidationError):
            push_settings.change({"internal_networks": [wrong]}, actor="test")
    assert push_settings.allowed_networks() == ()


def test_the_same_address_twice_is_one_channel_and_ten_are_enough() -> None:
    consultant = create_consultant()
    for _ in range(2):
        push_channels.add(consultant.id, HTTP, SecretStr("https://example.com/same"), name=None, actor="li")
    assert len(push_channels.listed(consultant.id)) == 1
    for number in range(9):
        push_channels.add(consultant.id, HTTP, SecretStr(f"https://example.com/{number}"), name=None, actor="li")
    with pytest.raises(ConflictError):
        push_channels.add(consultant.id, HTTP, SecretStr("https://example.com/one-too-many"), name=None, actor="li")
    assert [one.position for one in push_channels.listed(consultant.id)] == list(range(10))


def test_a_test_push_is_sent_through_the_channel_and_noted(receiver: Receiver) -> None:
    consultant = create_consultant()
    channel = push_channels.add(consultant.id, HTTP, SecretStr(f"{receiver.url}/try"), name="mine", actor="li")
    assert push_channels.try_out(consultant.id, channel.id).sent
    assert json.loads(receiver.received[0].body)["test"] is True
    receiver.always["/try"] = 500
    trial = push_channels.try_out(consultant.id, channel.id)
    assert (trial.sent, trial.error_code) == (False, "PUSH_UNAVAILABLE")
    (shown,) = push_channels.listed(consultant.id)
    assert shown.last_success_at is not None
    assert shown.last_error_at is not None
    assert shown.last_error == "the push channel answered 500"
    assert rows("SELECT count(*) FROM notifications") == [(0,)]


def test_a_secret_under_a_lost_key_fails_the_push_and_says_so() -> None:
    consultant = create_consultant()
    create_push_channel(consultant, "http://127.0.0.1:9/x", url_encrypted=encrypt(SecretStr("x"))[:-4] + b"AAAA")
    assert delivery.deliver(ids_of(tell(customer_waits()))) == 0
    assert status() == ("failed", 1, "UNDECRYPTABLE_SECRET")
