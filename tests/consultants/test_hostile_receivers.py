"""What one hostile receiver can do to us: take a bounded time and a bounded memory, and nothing of anybody else's."""

import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from ipaddress import ip_network
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from clients import bounded_call, push
from clients.push import PushTransientError, VapidKey
from services import automation, delivery, push_keys
from tests.consultants.browser import Browser
from tests.consultants.conftest import customer_waits, execute, rows, tell
from tests.consultants.hostile_receiver import Hostile, hostile_receiver
from tests.consultants.receiver import Receiver
from tests.support.factories import create_consultant, create_push_channel
from tests.support.waiting import wait_until

LOOPBACK = [ip_network("127.0.0.0/8")]
SECONDS = 0.6
# What the end of a call may take beyond its time, on a machine with much else to do.
SLACK_SECONDS = 1.0
GREEDY = "?rto=600&cto=600&retry=10&wait=20"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    with hostile_receiver() as receiver:
        yield receiver


@pytest.fixture
def vapid(database: str) -> VapidKey:
    return VapidKey(push_keys.vapid_key().private, "mailto:push@example.com")


def send(hostile: Hostile, kind: str, path: str, vapid: VapidKey, *, seconds: float = SECONDS) -> str:
    """Push once; return the error's code, or `sent`."""
    url = {
        "http": f"{hostile.url}/{path}",
        "webpush": json.dumps(Browser(f"{hostile.url}/{path}").subscription),
        "apprise": f"{hostile.url}/{path}{GREEDY}".replace("http://", "json://"),
    }[kind]
    payload = {"title": "t", "body": "b"}
    try:
        push.send(kind, SecretStr(url), payload, idempotency_key="k", vapid=vapid, allowed=LOOPBACK, seconds=seconds)
    except PushTransientError as error:
        return error.code
    return "sent"


def hanging() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "bounded-call"]


@pytest.mark.parametrize("path", ["silent", "dripping-head", "dripping-body"])
@pytest.mark.parametrize("kind", ["http", "webpush", "apprise"])
def test_a_push_ends_in_its_time_and_leaves_nothing_behind(
    hostile: Hostile, vapid: VapidKey, kind: str, path: str
) -> None:
    # What a kind loads when it is first used is not the receiver's doing.
    send(hostile, kind, "failing", vapid, seconds=8)
    before = hostile.asked(f"/{path}")
    began = time.monotonic()
    # A status is an answer, whatever comes or fails to come behind it; Apprise's services read what is behind it.
    expected = "sent" if path == "dripping-body" and kind != "apprise" else "PUSH_TIMED_OUT"
    assert send(hostile, kind, path, vapid) == expected
    assert time.monotonic() - began < SECONDS + SLACK_SECONDS
    wait_until(lambda: not hanging() and hostile.held() == 0, timeout_seconds=3)
    assert hostile.asked(f"/{path}") == before + 1


@pytest.mark.parametrize("kind", ["http", "webpush", "apprise"])
def test_no_answer_is_told_from_a_bad_one(
    hostile: Hostile, vapid: VapidKey, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "TIMEOUT", httpx.Timeout(0.3))
    monkeypatch.setattr(push, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(push, "CONNECT_SECONDS", 0.3)
    monkeypatch.setitem(push._BOUNDS, "socket_read_timeout", 0.3)
    assert send(hostile, kind, "failing", vapid, seconds=8) == "PUSH_UNAVAILABLE"
    began = time.monotonic()
    assert send(hostile, kind, "silent", vapid, seconds=8) == "PUSH_TIMED_OUT"
    assert time.monotonic() - began < 0.3 + SLACK_SECONDS


@pytest.mark.parametrize("path", ["endless", "bomb"])
@pytest.mark.parametrize("kind", ["http", "webpush", "apprise"])
def test_of_an_answer_only_a_bounded_piece_is_kept(hostile: Hostile, vapid: VapidKey, kind: str, path: str) -> None:
    send(hostile, kind, "failing", vapid, seconds=8)
    tracemalloc.start()
    try:
        assert send(hostile, kind, path, vapid, seconds=8) == "sent"
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * 1024 * 1024
    wait_until(lambda: not hanging() and hostile.held() == 0, timeout_seconds=5)


def test_a_url_cannot_ask_for_repeats(hostile: Hostile, vapid: VapidKey) -> None:
    before = hostile.asked("/failing")
    assert send(hostile, "apprise", "failing", vapid, seconds=8) == "PUSH_UNAVAILABLE"
    assert hostile.asked("/failing") == before + 1


def test_when_everything_hangs_a_further_push_does_not_wait_for_ever(
    hostile: Hostile, vapid: VapidKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_call, "_places", threading.BoundedSemaphore(1))
    before = hostile.asked("/silent")
    first = threading.Thread(target=send, args=(hostile, "http", "silent", vapid), kwargs={"seconds": 2.0})
    first.start()
    wait_until(lambda: hostile.asked("/silent") == before + 1)
    assert send(hostile, "http", "silent", vapid, seconds=0.3) == "PUSH_TIMED_OUT"
    assert hostile.asked("/silent") == before + 1
    first.join()
    assert send(hostile, "http", "dripping-body", vapid) == "sent"


OUTCOME = "SELECT status, attempts, error_code FROM notifications WHERE consultant_id = :c"


def waiting_pushes() -> list[UUID]:
    """Write the pushes for a new customer down; return their ids."""
    return [one.id for one in tell(customer_waits())]


def make_due() -> None:
    execute("UPDATE notifications SET due_at = now(), lease_until = NULL WHERE status = 'pending'")


def test_who_hangs_is_let_rest_and_takes_no_time_from_the_others(
    hostile: Hostile, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "CALL_SECONDS", SECONDS)
    slow, quick, both = create_consultant(), create_consultant(), create_consultant()
    create_push_channel(slow, f"{hostile.url}/silent")
    create_push_channel(quick, f"{receiver.url}/quick")
    create_push_channel(both, f"{hostile.url}/silent")
    create_push_channel(both, f"{receiver.url}/second", position=1)
    pushes = waiting_pushes()
    before = hostile.asked("/silent")
    began = time.monotonic()
    assert delivery.deliver(pushes) == 2
    assert time.monotonic() - began < SECONDS + SLACK_SECONDS
    assert {one.path for one in receiver.received} == {"/quick", "/second"}
    assert rows(OUTCOME, c=slow.id) == [("pending", 1, "PUSH_TIMED_OUT")]
    # Asked again at once it would hold its place once more.
    make_due()
    assert delivery.deliver(pushes) == 0
    assert rows(OUTCOME, c=slow.id) == [("pending", 2, "PUSH_RESTING")]
    assert hostile.asked("/silent") == before + 2
    execute("UPDATE push_channels SET last_error_at = now() - interval '31 s' WHERE last_error IS NOT NULL")
    make_due()
    assert delivery.deliver(pushes) == 0
    assert rows(OUTCOME, c=slow.id) == [("pending", 3, "PUSH_TIMED_OUT")]
    assert hostile.asked("/silent") == before + 3
    assert len(receiver.received) == 2


def test_a_push_whose_senders_die_over_it_is_given_up(receiver: Receiver) -> None:
    consultant = create_consultant()
    create_push_channel(consultant, f"{receiver.url}/deadly")
    pushes = waiting_pushes()
    allowed = automation.current().retry.max_retries + 1
    # All that are allowed were begun, and none wrote down how it ended.
    execute("UPDATE notifications SET attempts = :n", n=allowed)
    assert delivery.deliver(pushes) == 0
    assert rows(OUTCOME, c=consultant.id) == [("failed", allowed + 1, "PUSH_ATTEMPTS_EXHAUSTED")]
    assert rows("SELECT sweep_at, lease_until, due_at FROM notifications") == [(None, None, None)]
    assert delivery.deliver(pushes) == 0
    assert receiver.received == []


def test_one_sender_that_died_does_not_cost_the_only_attempt(receiver: Receiver) -> None:
    automation.change({"retry": {"max_retries": 0}}, actor="test")
    consultant = create_consultant()
    create_push_channel(consultant, f"{receiver.url}/once")
    pushes = waiting_pushes()
    execute("UPDATE notifications SET attempts = 1")
    assert delivery.deliver(pushes) == 1
    assert rows(OUTCOME, c=consultant.id) == [("sent", 2, None)]
    assert len(receiver.received) == 1
