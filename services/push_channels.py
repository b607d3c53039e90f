"""Consultants' push channels: where they are told when no socket is open. Their own business, and administrators'."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy.orm import Session

from clients import push
from clients.push import PushGoneError
from core.crypto import decrypt, encrypt
from core.database import unit_of_work
from core.errors import AnmeiError, ConflictError, InvalidInputError, RateLimitedError
from core.ids import new_id
from models import PushChannel, PushKind
from queries import notifications as notification_queries
from queries import push_channels as queries
from queries.notifications import Tried
from services import audit, automation, push_keys, push_settings

# Enough for every device of one person; each is asked in turn while a customer waits.
CHANNELS_MAX = 10
# A test holds a thread of the process that serves everybody, for as long as the receiver lets it wait.
TESTS_AT_ONCE = 4
TESTS_AT_ONCE_EACH = 1

_tests_of: Counter[UUID] = Counter()
_tests_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """What is to change about a channel; None leaves it as it is."""

    name: str | None = None
    enabled: bool | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """How a test went; the error is one for people."""

    sent: bool
    error_code: str | None = None
    error: str | None = None


def listed(consultant_id: UUID) -> Sequence[PushChannel]:
    """Return the consultant's channels in the order they are tried."""
    with unit_of_work() as session:
        queries.lock_consultant(session, consultant_id)
        return queries.list_channels(session, consultant_id)


def add(consultant_id: UUID, kind: PushKind, url: SecretStr, *, name: str | None, actor: str) -> PushChannel:
    """Add a channel behind the others; a browser that subscribes again, or the same URL, takes its channel's old place.

    Raises NotFoundError, InvalidInputError for an address that is none of its kind, ConflictError beyond CHANNELS_MAX.
    """
    try:
        push.check(kind, url, allowed=push_settings.allowed_networks())
    except push.PushRefusedError as refused:
        raise InvalidInputError(refused.message, code=refused.code) from None
    with unit_of_work() as session:
        # The lock makes the count, and the look for the same address, hold until the commit.
        queries.lock_consultant(session, consultant_id)
        existing = queries.list_channels(session, consultant_id)
        channel = next((one for one in existing if _is_at(one, kind, url)), None)
        if channel is None:
            if len(existing) >= CHANNELS_MAX:
                raise ConflictError(f"a consultant has at most {CHANNELS_MAX} channels", code="TOO_MANY_CHANNELS")
            position = queries.next_position(session, consultant_id)
            channel = PushChannel(id=new_id(), consultant_id=consultant_id, kind=kind, position=position)
            session.add(channel)
        channel.url_encrypted = encrypt(url)
        channel.name = name or channel.name
        channel.enabled = True
        channel.disabled_reason = None
        _audit(session, actor, "push_channel.add", channel, {"kind": str(kind), "name": channel.name})
        session.flush()
        session.refresh(channel)
    return channel


def change(consultant_id: UUID, channel_id: UUID, wanted: ChannelChange, *, actor: str) -> PushChannel:
    """Rename, reorder, or switch a channel on or off; raise NotFoundError."""
    with unit_of_work() as session:
        channel = queries.lock_channel(session, consultant_id, channel_id)
        if wanted.name is not None:
            channel.name = wanted.name
        if wanted.position is not None:
            channel.position = wanted.position
        if wanted.enabled is not None:
            channel.enabled = wanted.enabled
            channel.disabled_reason = None
        after = {"name": channel.name, "enabled": channel.enabled, "position": channel.position}
        _audit(session, actor, "push_channel.change", channel, after)
    return channel


def remove(consultant_id: UUID, channel_id: UUID, *, actor: str) -> None:
    """Delete a channel; raise NotFoundError."""
    with unit_of_work() as session:
        channel = queries.lock_channel(session, consultant_id, channel_id)
        _audit(session, actor, "push_channel.remove", channel, {"kind": channel.kind, "name": channel.name})
        session.delete(channel)


def try_out(consultant_id: UUID, channel_id: UUID) -> Trial:
    """Send a push that says it is a test, also through a channel that is switched off; note how it went with the channel.

    Raises NotFoundError, and RateLimitedError while this consultant's last test, or too many others', have not ended.
    """
    with unit_of_work() as session:
        channel = queries.lock_channel(session, consultant_id, channel_id)
    with _room_for_a_test(consultant_id):
        error = _tested(channel)
    with unit_of_work() as session:
        text = error.message[:500] if error else None
        notification_queries.note_channels(session, [Tried(channel_id, text, isinstance(error, PushGoneError))])
    return Trial(True) if error is None else Trial(False, error.code, error.message)


def _tested(channel: PushChannel) -> AnmeiError | None:
    settings = automation.current().notification
    payload = {"title": settings.push_title, "body": "这是一条测试消息 / This is a test", "test": True}
    try:
        vapid = push_keys.vapid_key() if channel.kind == PushKind.WEBPUSH else None
        push.send(
            channel.kind,
            decrypt(channel.url_encrypted),
            payload,
            idempotency_key=str(new_id()),
            vapid=vapid,
            allowed=push_settings.allowed_networks(),
        )
    except AnmeiError as refused:
        return refused
    return None


@contextmanager
def _room_for_a_test(consultant_id: UUID) -> Iterator[None]:
    with _tests_lock:
        if _tests_of.total() >= TESTS_AT_ONCE or _tests_of[consultant_id] >= TESTS_AT_ONCE_EACH:
            raise RateLimitedError(
                "a test is running already",
                code="PUSH_TEST_BUSY",
                retry_after_seconds=round(push.CALL_SECONDS),
            )
        _tests_of[consultant_id] += 1
    try:
        yield
    finally:
        with _tests_lock:
            _tests_of[consultant_id] -= 1
            if not _tests_of[consultant_id]:
                del _tests_of[consultant_id]


def _is_at(channel: PushChannel, kind: PushKind, url: SecretStr) -> bool:
    if channel.kind != kind:
        return False
    try:
        stored = push.address(kind, decrypt(channel.url_encrypted))
    except AnmeiError:
        # Under a key that is gone, so it cannot be compared; a push to it fails and says so.
        return False
    return stored == push.address(kind, url)


def _audit(session: Session, actor: str, action: str, channel: PushChannel, after: dict[str, Any]) -> None:
    audit.record(session, actor=actor, action=action, subject=f"consultant:{channel.consultant_id}", after=after)
