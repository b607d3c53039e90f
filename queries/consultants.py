"""Consultants: who is there, by which sockets, and what they received."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

# Conditions for set statements over `consultants c`. A socket whose process died expires by itself.
CONNECTED = "EXISTS (SELECT FROM consultant_connections k WHERE k.consultant_id = c.id AND k.expires_at > now())"
ONLINE = f"c.enabled AND c.away_since IS NULL AND {CONNECTED}"


@dataclass(frozen=True, slots=True)
class Presence:
    """A consultant and whether they are there; `devices` counts live sockets in all processes."""

    consultant_id: UUID
    user_id: UUID
    display_name: str
    status: str
    devices: int
    away_since: datetime | None


_LIST = """
SELECT c.id AS consultant_id, c.user_id, c.display_name, c.away_since, k.devices,
       CASE WHEN k.devices = 0 THEN 'offline' WHEN c.away_since IS NOT NULL THEN 'away' ELSE 'online' END AS status
FROM consultants c
CROSS JOIN LATERAL (
    SELECT count(*) AS devices FROM consultant_connections k WHERE k.consultant_id = c.id AND k.expires_at > now()
) k
WHERE c.enabled"""
_ALL = text(f"{_LIST} ORDER BY c.display_name, c.id")
_ONLINE = text(f"{_LIST} AND c.away_since IS NULL AND k.devices > 0 ORDER BY c.display_name, c.id")


def list_presence(session: Session) -> list[Presence]:
    """Return every enabled consultant: online, away or offline."""
    return [Presence(**row._mapping) for row in session.execute(_ALL)]


def list_online(session: Session) -> list[Presence]:
    """Return the consultants who are online: enabled, not away, with a live socket in some process."""
    return [Presence(**row._mapping) for row in session.execute(_ONLINE)]


_HOURS = text("""
SELECT id, CASE WHEN jsonb_typeof(working_hours) = 'object' THEN working_hours END AS hours
FROM consultants WHERE enabled ORDER BY id
""")


def list_working_hours(session: Session) -> list[tuple[UUID, dict[str, Any] | None]]:
    """Return every enabled consultant with their own hours, None where they have none."""
    return [(row.id, row.hours) for row in session.execute(_HOURS)]


_CHANGE_PROFILE = text("""
UPDATE consultants SET languages = :languages, skills = :skills, working_hours = :working_hours, is_supervisor = :is_supervisor
WHERE id = :id
""").bindparams(
    bindparam("languages", type_=JSONB),
    bindparam("skills", type_=JSONB),
    bindparam("working_hours", type_=JSONB(none_as_null=True)),
)


def change_profile(session: Session, consultant_id: UUID, values: Mapping[str, Any]) -> None:
    """Replace what a consultant is matched by."""
    session.execute(_CHANGE_PROFILE, {"id": consultant_id, **values})


def find_locale(session: Session, user_id: UUID) -> str | None:
    """Return the locale of who signs in as this user."""
    found: str | None = session.execute(text("SELECT locale FROM users WHERE id = :id"), {"id": user_id}).scalar()
    return found


def set_locale(session: Session, user_id: UUID, locale: str) -> None:
    """Note a locale with a user. Idempotent."""
    statement = text(
        "UPDATE users SET locale = :locale, updated_at = now() WHERE id = :id AND locale IS DISTINCT FROM :locale"
    )
    session.execute(statement, {"id": user_id, "locale": locale})


_REFRESH = text("""
INSERT INTO consultant_connections (id, consultant_id, expires_at)
SELECT k.id, k.consultant_id, now() + make_interval(secs => :expiry_seconds)
FROM unnest(CAST(:ids AS uuid[]), CAST(:consultant_ids AS uuid[])) AS k(id, consultant_id)
WHERE EXISTS (SELECT FROM consultants c WHERE c.id = k.consultant_id)
ORDER BY k.id
ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
""")


def refresh_connections(session: Session, connections: dict[UUID, UUID], *, expiry_seconds: float) -> None:
    """Let these sockets, by id with their consultant, live on; one that was forgotten is back. One statement."""
    if connections:
        session.execute(
            _REFRESH,
            {
                "ids": list(connections),
                "consultant_ids": list(connections.values()),
                "expiry_seconds": expiry_seconds,
            },
        )


def delete_connections(session: Session, ids: Sequence[UUID]) -> None:
    """Forget these sockets. Idempotent."""
    session.execute(text("DELETE FROM consultant_connections WHERE id = ANY(:ids)"), {"ids": list(ids)})


def lapse_connections(session: Session, ids: Sequence[UUID], *, grace_seconds: float) -> None:
    """Let these sockets count as open that much longer, and then no more. Idempotent."""
    session.execute(
        text(
            "UPDATE consultant_connections SET expires_at = least(expires_at, now() + make_interval(secs => :seconds)) "
            "WHERE id = ANY(:ids)"
        ),
        {"ids": list(ids), "seconds": grace_seconds},
    )


def set_away(session: Session, consultant_id: UUID, *, away: bool) -> bool:
    """Note that the consultant is away, or back; return whether that changed anything."""
    changed = session.execute(
        text(
            "UPDATE consultants SET away_since = CASE WHEN :away THEN now() END "
            "WHERE id = :id AND (away_since IS NULL) = :away RETURNING id"
        ),
        {"id": consultant_id, "away": away},
    )
    return changed.scalar() is not None


# A receipt names the event's number; the event knows the journey. Once seen, a late `received` takes nothing back.
_RECEIPTS = text("""
UPDATE notifications n
SET status = CASE WHEN r.seen OR n.status = 'seen' THEN 'seen' ELSE 'delivered' END, receipt_due_at = NULL,
    delivered_at = coalesce(n.delivered_at, now()), seen_at = coalesce(n.seen_at, CASE WHEN r.seen THEN now() END)
FROM (
    SELECT e.journey_id, g.consultant_id, bool_or(g.seen) AS seen
    FROM unnest(CAST(:numbers AS bigint[]), CAST(:consultant_ids AS uuid[]), CAST(:seen AS boolean[]))
        AS g(number, consultant_id, seen)
    JOIN events e ON e.seq = g.number AND e.type = 'new_customer'
    GROUP BY e.journey_id, g.consultant_id
) r
WHERE n.journey_id = r.journey_id AND n.consultant_id = r.consultant_id AND n.channel = 'websocket'
  AND (n.delivered_at IS NULL OR (r.seen AND n.seen_at IS NULL))
""")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A consultant's device says that it received, or showed, the event of this number."""

    number: int
    consultant_id: UUID
    seen: bool


def record_receipts(session: Session, receipts: Sequence[Receipt]) -> None:
    """Move the consultants' notifications on to delivered or seen. Idempotent, in any order."""
    if receipts:
        session.execute(
            _RECEIPTS,
            {
                "numbers": [receipt.number for receipt in receipts],
                "consultant_ids": [receipt.consultant_id for receipt in receipts],
                "seen": [receipt.seen for receipt in receipts],
            },
        )
