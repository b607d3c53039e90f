"""The notifications' own outbox: claiming, finishing and failing deliveries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam


@dataclass(frozen=True, slots=True)
class Delivery:
    """One push to make, ours until its lease runs out; the encrypted URLs in the order they are tried."""

    id: UUID
    consultant_id: UUID
    attempts: int
    payload: dict[str, Any]
    channels: list[tuple[UUID, str, bytes]]


_CLAIM = text("""
WITH due AS MATERIALIZED (
    SELECT id FROM notifications
    WHERE id = ANY(:ids) AND status = 'pending' AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE notifications n
SET attempts = n.attempts + 1, published = 0, lease_token = :token,
    lease_until = now() + make_interval(secs => :lease_seconds), sweep_at = now() + make_interval(secs => :lease_seconds)
FROM due WHERE n.id = due.id
RETURNING n.id, n.consultant_id, n.attempts, n.payload,
    ARRAY(SELECT p.id::text || ' ' || p.kind || ' ' || encode(p.url_encrypted, 'hex') FROM push_channels p
          WHERE p.consultant_id = n.consultant_id AND p.enabled ORDER BY p.position, p.id) AS channels
""")


def claim_deliveries(session: Session, ids: Sequence[UUID], *, token: UUID, lease_seconds: float) -> list[Delivery]:
    """Take the pushes among these that are due and nobody else is making."""
    rows = session.execute(_CLAIM, {"ids": list(ids), "token": token, "lease_seconds": lease_seconds})
    return [
        Delivery(row.id, row.consultant_id, row.attempts, row.payload, [_channel(one) for one in row.channels])
        for row in rows
    ]


def _channel(joined: str) -> tuple[UUID, str, bytes]:
    channel_id, kind, url = joined.split(" ")
    return UUID(channel_id), kind, bytes.fromhex(url)


@dataclass(frozen=True, slots=True)
class DeliveryEnd:
    """How one push ended: sent through a channel, to be tried again after some seconds, or failed for good."""

    id: UUID
    channel_id: UUID | None = None
    error_code: str | None = None
    error_text: str | None = None
    retry_in_seconds: float | None = None


_END = text("""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(:ends)
        AS e(id uuid, channel_id uuid, error_code text, error_text text, retry_in_seconds float8)
),
ended AS (
    UPDATE notifications n
    SET status = CASE WHEN e.error_code IS NULL THEN 'sent' WHEN e.retry_in_seconds IS NULL THEN 'failed' ELSE 'pending' END,
        sent_at = CASE WHEN e.error_code IS NULL THEN now() END, error_code = e.error_code, error_text = e.error_text,
        lease_token = NULL, lease_until = NULL,
        due_at = now() + make_interval(secs => e.retry_in_seconds), sweep_at = now() + make_interval(secs => e.retry_in_seconds)
    FROM given e WHERE n.id = e.id AND n.lease_token = :token
    RETURNING n.id, e.channel_id
)
UPDATE push_channels p SET last_success_at = now(), last_error = NULL FROM ended WHERE p.id = ended.channel_id
""").bindparams(bindparam("ends", type_=JSONB))


def end_deliveries(session: Session, ends: Sequence[DeliveryEnd], *, token: UUID) -> None:
    """Record how the pushes ended, where their lease is still ours. Idempotent."""
    rows = [
        {
            "id": str(end.id),
            "channel_id": str(end.channel_id) if end.channel_id else None,
            "error_code": end.error_code,
            "error_text": end.error_text,
            "retry_in_seconds": end.retry_in_seconds,
        }
        for end in ends
    ]
    session.execute(_END, {"ends": rows, "token": token})


_SWEEP = text("""
WITH due AS MATERIALIZED (
    SELECT id FROM notifications WHERE sweep_at <= now() ORDER BY sweep_at LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE notifications n
SET published = least(n.published + 1, 30),
    sweep_at = now() + make_interval(secs => least(:longest, :first * 2 ^ least(n.published, 10)))
FROM due WHERE n.id = due.id
RETURNING n.id
""")


def sweep_notifications(session: Session, *, most: int, first: float, longest: float) -> list[UUID]:
    """Take the notifications to look at now and set the next look further away each time (seconds)."""
    return list(session.execute(_SWEEP, {"most": most, "first": first, "longest": longest}).scalars())
