"""The outbox of pushes: claiming, finishing and failing deliveries, and what becomes of a missing receipt.

Two tables have the same outbox: notifications of new customers, and the pushes that the rungs of a ladder send.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

OUTBOXES = ("notifications", "escalation_pushes")

# So long a receiver that let us wait to the end is not waited for again: the wait holds a place that journeys need too.
REST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Address:
    """One of a consultant's push channels, its URL encrypted; a resting one is not to be asked now."""

    channel_id: UUID
    kind: str
    url_encrypted: bytes
    resting: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One push to make, ours until its lease runs out; the channels in the order they are tried."""

    outbox: str
    id: UUID
    consultant_id: UUID
    attempts: int
    payload: dict[str, Any]
    channels: list[Address]
    consultant_locale: str | None
    # The customer's basics.
    username: str
    locale: str | None
    interests: list[str]
    source: str | None


def _claim(outbox: str) -> TextClause:
    return text(f"""
WITH due AS MATERIALIZED (
    SELECT id FROM {outbox}
    WHERE id = ANY(:ids) AND status = 'pending' AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY id FOR UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE {outbox} n
    SET attempts = n.attempts + 1, published = 0, lease_token = :token,
        lease_until = now() + make_interval(secs => :lease_seconds), sweep_at = now() + make_interval(secs => :lease_seconds)
    FROM due WHERE n.id = due.id
    RETURNING n.id, n.journey_id, n.consultant_id, n.attempts, n.payload
)
SELECT n.id, n.consultant_id, n.attempts, n.payload, s.locale AS consultant_locale, left(u.username, 200) AS username, u.locale,
    u.interests, u.source,
    ARRAY(SELECT p.id::text || ' ' || p.kind || ' ' || encode(p.url_encrypted, 'hex')
            || CASE WHEN p.last_error = :slow AND p.last_error_at > now() - make_interval(secs => :rest_seconds)
               THEN ' resting' ELSE '' END FROM push_channels p
          WHERE p.consultant_id = c.id AND c.enabled AND p.enabled ORDER BY p.position, p.id) AS channels
FROM claimed n
JOIN journeys j ON j.id = n.journey_id
JOIN users u ON u.id = j.user_id
JOIN consultants c ON c.id = n.consultant_id
JOIN users s ON s.id = c.user_id
""")


_CLAIM = {outbox: _claim(outbox) for outbox in OUTBOXES}


def claim_deliveries(
    session: Session, ids: Sequence[UUID], *, token: UUID, lease_seconds: float, slow: str
) -> list[Delivery]:
    """Take the pushes among these, of both outboxes, that are due and nobody else is making.

    A consultant who was switched off meanwhile has no channels any more. A channel whose last error has the text `slow` rests for
    REST_SECONDS.
    """
    parameters = {
        "ids": list(ids),
        "token": token,
        "lease_seconds": lease_seconds,
        "slow": slow,
        "rest_seconds": REST_SECONDS,
    }
    claimed = []
    for outbox, statement in _CLAIM.items():
        rows = session.execute(statement, parameters)
        claimed += [
            Delivery(outbox=outbox, **{**row._mapping, "channels": [_address(one) for one in row.channels]})
            for row in rows
        ]
    return claimed


def _address(joined: str) -> Address:
    channel_id, kind, url, *resting = joined.split(" ")
    return Address(UUID(channel_id), kind, bytes.fromhex(url), bool(resting))


@dataclass(frozen=True, slots=True)
class Tried:
    """How one channel took a push: no error, or why not, and whether it is gone for good."""

    channel_id: UUID
    error_text: str | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryEnd:
    """How one push ended: sent, to be tried again after some seconds, or failed for good; with what its channels said."""

    outbox: str
    id: UUID
    tried: tuple[Tried, ...] = ()
    error_code: str | None = None
    error_text: str | None = None
    retry_in_seconds: float | None = None


def _end(outbox: str) -> TextClause:
    return text(f"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(:ends) AS e(id uuid, error_code text, error_text text, retry_in_seconds float8)
)
UPDATE {outbox} n
SET status = CASE WHEN e.error_code IS NULL THEN 'sent' WHEN e.retry_in_seconds IS NULL THEN 'failed' ELSE 'pending' END,
    sent_at = CASE WHEN e.error_code IS NULL THEN now() END, error_code = e.error_code, error_text = e.error_text,
    lease_token = NULL, lease_until = NULL,
    due_at = now() + make_interval(secs => e.retry_in_seconds), sweep_at = now() + make_interval(secs => e.retry_in_seconds)
FROM given e WHERE n.id = e.id AND n.lease_token = :token
""").bindparams(bindparam("ends", type_=JSONB))


_END = {outbox: _end(outbox) for outbox in OUTBOXES}

# Locked in the order of their ids: the same channels are noted by several deliveries at once. Of several words about one
# channel, a success counts before a failure.
_NOTE_CHANNELS = text("""
WITH given AS (
    SELECT t.channel_id, min(t.error_text) AS error_text, bool_or(t.error_text IS NULL) AS took, bool_or(t.gone) AS gone
    FROM jsonb_to_recordset(:tried) AS t(channel_id uuid, error_text text, gone boolean)
    GROUP BY t.channel_id
),
locked AS MATERIALIZED (
    SELECT p.id FROM push_channels p JOIN given g ON g.channel_id = p.id ORDER BY p.id FOR UPDATE OF p
)
UPDATE push_channels p
SET last_success_at = CASE WHEN g.took THEN now() ELSE p.last_success_at END,
    last_error = CASE WHEN g.took THEN NULL ELSE g.error_text END,
    last_error_at = CASE WHEN g.took THEN p.last_error_at ELSE now() END,
    enabled = p.enabled AND NOT g.gone,
    disabled_reason = CASE WHEN g.gone AND p.enabled THEN g.error_text ELSE p.disabled_reason END
FROM given g JOIN locked l ON l.id = g.channel_id WHERE p.id = g.channel_id
""").bindparams(bindparam("tried", type_=JSONB))


def end_deliveries(session: Session, ends: Sequence[DeliveryEnd], *, token: UUID) -> None:
    """Record how the pushes ended, where their lease is still ours. Idempotent."""
    for outbox, statement in _END.items():
        rows = [
            {
                "id": str(end.id),
                "error_code": end.error_code,
                "error_text": end.error_text,
                "retry_in_seconds": end.retry_in_seconds,
            }
            for end in ends
            if end.outbox == outbox
        ]
        if rows:
            session.execute(statement, {"ends": rows, "token": token})
    note_channels(session, [tried for end in ends for tried in end.tried])


def note_channels(session: Session, tried: Sequence[Tried]) -> None:
    """Note with each channel how it took its last push; one whose receiver is gone is switched off."""
    if tried:
        rows = [{"channel_id": str(one.channel_id), "error_text": one.error_text, "gone": one.gone} for one in tried]
        session.execute(_NOTE_CHANNELS, {"tried": rows})


def _sweep(outbox: str) -> TextClause:
    return text(f"""
WITH due AS MATERIALIZED (
    SELECT id FROM {outbox} WHERE sweep_at <= now() ORDER BY sweep_at LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE {outbox} n
SET published = least(n.published + 1, 30),
    sweep_at = now() + make_interval(secs => least(:longest, :first * 2 ^ least(n.published, 10)))
FROM due WHERE n.id = due.id
RETURNING n.id
""")


_SWEEP = {outbox: _sweep(outbox) for outbox in OUTBOXES}


def sweep_notifications(session: Session, *, most: int, first: float, longest: float) -> list[UUID]:
    """Take the pushes to look at now and set the next look further away each time (seconds)."""
    parameters = {"most": most, "first": first, "longest": longest}
    return [one for statement in _SWEEP.values() for one in session.execute(statement, parameters).scalars()]


# A customer who has been taken needs no further telling.
_PASS_ON = text("""
WITH due AS MATERIALIZED (
    SELECT id FROM notifications WHERE receipt_due_at <= now() ORDER BY receipt_due_at LIMIT :most FOR UPDATE SKIP LOCKED
),
silent AS (
    UPDATE notifications n SET receipt_due_at = NULL FROM due WHERE n.id = due.id
    RETURNING n.journey_id, n.consultant_id, n.channel, n.payload, n.delivered_at
)
INSERT INTO notifications (id, journey_id, consultant_id, channel, status, payload, due_at, sweep_at)
SELECT anmei_uuid7(), s.journey_id, s.consultant_id, 'push', 'pending',
       s.payload || jsonb_build_object('title', CAST(:push_title AS text), 'body', CAST(:push_body AS text)),
       now(), now() + make_interval(secs => :sweep_seconds)
FROM silent s
JOIN conversations v ON v.journey_id = s.journey_id
WHERE s.channel = 'websocket' AND s.delivered_at IS NULL AND v.claimed_by_id IS NULL AND :with_push
ON CONFLICT (journey_id, consultant_id, channel) DO NOTHING
RETURNING id
""")


def pass_on_silent(
    session: Session, *, most: int, with_push: bool, push_title: str, push_body: str, sweep_seconds: float
) -> list[UUID]:
    """Give the next channel its turn where a socket confirmed nothing in time; return the pushes to make."""
    parameters = {
        "most": most,
        "with_push": with_push,
        "push_title": push_title,
        "push_body": push_body,
        "sweep_seconds": sweep_seconds,
    }
    return list(session.execute(_PASS_ON, parameters).scalars())


_RECEIPT = text("""
UPDATE notifications
SET status = CASE WHEN :seen OR status = 'seen' THEN 'seen' ELSE 'delivered' END, receipt_due_at = NULL,
    delivered_at = coalesce(delivered_at, now()), seen_at = coalesce(seen_at, CASE WHEN :seen THEN now() END)
WHERE id = :id AND consultant_id = :consultant_id AND status IN ('sent', 'delivered', 'seen')
RETURNING id
""")


def record_receipt(session: Session, notification_id: UUID, consultant_id: UUID, *, seen: bool) -> bool:
    """Move a consultant's notification on to delivered or seen; return whether it is one of theirs that was sent."""
    parameters = {"id": notification_id, "consultant_id": consultant_id, "seen": seen}
    return session.execute(_RECEIPT, parameters).scalar() is not None
