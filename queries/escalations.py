"""The escalation ladder's statements: rungs that are due, what they write, and what stops them.

Whoever writes here locks the conversation first, as a claim does, so that a claim and a rung never wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

from queries.consultants import CONNECTED

_SWEEP = text("""
WITH due AS MATERIALIZED (
    SELECT id FROM escalations WHERE sweep_at <= now() ORDER BY sweep_at LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE escalations e SET sweep_at = now() + make_interval(secs => :again_seconds) FROM due WHERE e.id = due.id
RETURNING e.id
""")


def sweep(session: Session, *, most: int, again_seconds: float) -> list[UUID]:
    """Take the rungs to look at now; one that is not done until then is looked at again after so many seconds."""
    return list(session.execute(_SWEEP, {"most": most, "again_seconds": again_seconds}).scalars())


@dataclass(frozen=True, slots=True)
class DueRung:
    """A rung that is due, its row and its conversation locked until the transaction ends."""

    id: UUID
    journey_id: UUID
    conversation_id: UUID
    customer_id: UUID
    round: int
    rung: int
    action: str
    waiting_since: datetime
    claimed_by_id: UUID | None
    # Whom an earlier rung of this round gave the customer to, last.
    assigned_id: UUID | None
    # Whether a consultant said something since the customer began to wait.
    replied: bool


_LOCK_CONVERSATION = text("""
SELECT v.id FROM conversations v JOIN escalations e ON e.conversation_id = v.id
WHERE e.id = :id AND e.status = 'pending' AND e.due_at <= now()
FOR NO KEY UPDATE OF v SKIP LOCKED
""")
_LOCK = text("""
SELECT e.id, e.journey_id, e.conversation_id, v.customer_id, e.round, e.rung, e.action, e.waiting_since, v.claimed_by_id,
       (SELECT CAST(p.result ->> 'assigned_to' AS uuid) FROM escalations p
        WHERE p.conversation_id = e.conversation_id AND p.round = e.round AND p.result ? 'assigned_to'
        ORDER BY p.rung DESC LIMIT 1) AS assigned_id,
       EXISTS (SELECT FROM messages m WHERE m.conversation_id = e.conversation_id AND m.sender_type = 'consultant'
               AND m.created_at >= e.waiting_since) AS replied
FROM escalations e JOIN conversations v ON v.id = e.conversation_id
WHERE e.id = :id AND e.status = 'pending' AND e.due_at <= now()
FOR UPDATE OF e
""")


def lock_due(session: Session, escalation_id: UUID) -> DueRung | None:
    """Return the rung with everything locked if it is still due and nobody is at work on its conversation."""
    if session.execute(_LOCK_CONVERSATION, {"id": escalation_id}).scalar() is None:
        return None
    # A second statement sees what was committed until the lock was had.
    row = session.execute(_LOCK, {"id": escalation_id}).one_or_none()
    return DueRung(**row._mapping) if row else None


_END = text("""
UPDATE escalations SET status = :status, ended_at = now(), sweep_at = NULL, result = :result WHERE id = :id
""").bindparams(bindparam("result", type_=JSONB))


def end(session: Session, escalation_id: UUID, *, status: str, result: Mapping[str, Any]) -> None:
    """End a locked rung as done or stopped."""
    session.execute(_END, {"id": escalation_id, "status": status, "result": dict(result)})


def put_off(session: Session, escalation_id: UUID, *, seconds: float) -> None:
    """Have a locked rung wait so much longer."""
    statement = text("""
UPDATE escalations SET due_at = now() + make_interval(secs => :seconds), sweep_at = now() + make_interval(secs => :seconds),
    paused = paused + 1 WHERE id = :id""")
    session.execute(statement, {"id": escalation_id, "seconds": seconds})


_ADD = text("""
INSERT INTO escalations (id, journey_id, conversation_id, round, rung, action, waiting_since, due_at, sweep_at)
VALUES (anmei_uuid7(), :journey_id, :conversation_id, :round, :rung, :action, coalesce(:waiting_since, now()),
        now() + make_interval(secs => :in_seconds), now() + make_interval(secs => :in_seconds))
ON CONFLICT (conversation_id, round, rung) DO NOTHING
""")


def add_next(session: Session, done: DueRung, *, action: str, in_seconds: float) -> None:
    """Write the rung after this one."""
    session.execute(
        _ADD,
        {
            "journey_id": done.journey_id,
            "conversation_id": done.conversation_id,
            "round": done.round,
            "rung": done.rung + 1,
            "action": action,
            "waiting_since": done.waiting_since,
            "in_seconds": in_seconds,
        },
    )


def start_again(session: Session, conversation_id: UUID, journey_id: UUID, *, action: str, in_seconds: float) -> None:
    """Begin a new round for a customer who was given back; the conversation is locked."""
    last = session.execute(
        text("SELECT coalesce(max(round), 0) FROM escalations WHERE conversation_id = :id"), {"id": conversation_id}
    ).scalar_one()
    session.execute(
        _ADD,
        {
            "journey_id": journey_id,
            "conversation_id": conversation_id,
            "round": last + 1,
            "rung": 0,
            "action": action,
            "waiting_since": None,
            "in_seconds": in_seconds,
        },
    )


_STOP = text("""
UPDATE escalations SET status = 'stopped', ended_at = now(), sweep_at = NULL, result = jsonb_build_object('reason', CAST(:reason AS text))
WHERE conversation_id = :conversation_id AND status = 'pending'
RETURNING id
""")


def stop(session: Session, conversation_id: UUID, *, reason: str) -> bool:
    """Stop the ladder of a conversation whose row is locked; return whether it was running."""
    parameters = {"conversation_id": conversation_id, "reason": reason}
    return session.execute(_STOP, parameters).first() is not None


def list_told(session: Session, journey_id: UUID) -> list[UUID]:
    """Return the consultants who have a notification of this journey."""
    statement = text("SELECT DISTINCT consultant_id FROM notifications WHERE journey_id = :id ORDER BY consultant_id")
    return list(session.execute(statement, {"id": journey_id}).scalars())


def list_supervisors(session: Session) -> list[UUID]:
    """Return the enabled consultants who are supervisors and can be told at all: online, or by a push."""
    statement = text(f"""
SELECT c.id FROM consultants c WHERE c.enabled AND c.is_supervisor AND ({CONNECTED}
    OR EXISTS (SELECT FROM push_channels p WHERE p.consultant_id = c.id AND p.enabled)) ORDER BY c.id""")
    return list(session.execute(statement).scalars())


_WIDEN = text(f"""
INSERT INTO notifications (id, journey_id, consultant_id, channel, status, payload, sent_at, due_at, sweep_at)
SELECT anmei_uuid7(), :journey_id, a.id, a.channel, CASE a.channel WHEN 'websocket' THEN 'sent' ELSE 'pending' END, :payload,
       CASE a.channel WHEN 'websocket' THEN now() END, CASE a.channel WHEN 'push' THEN now() END,
       CASE a.channel WHEN 'push' THEN now() + make_interval(secs => :sweep_seconds) END
FROM (
    SELECT c.id, CASE WHEN {CONNECTED} AND c.away_since IS NULL THEN 'websocket'
                      WHEN EXISTS (SELECT FROM push_channels p WHERE p.consultant_id = c.id AND p.enabled) THEN 'push' END AS channel
    FROM consultants c
    WHERE c.enabled AND (c.id = ANY(CAST(:on_shift AS uuid[])) OR ({CONNECTED} AND c.away_since IS NULL))
      AND NOT EXISTS (SELECT FROM notifications n WHERE n.journey_id = :journey_id AND n.consultant_id = c.id)
) a
WHERE a.channel IS NOT NULL
ON CONFLICT (journey_id, consultant_id, channel) DO NOTHING
RETURNING id, consultant_id, channel
""").bindparams(bindparam("payload", type_=JSONB))


@dataclass(frozen=True, slots=True)
class Widened:
    id: UUID
    consultant_id: UUID
    channel: str


def widen(
    session: Session, journey_id: UUID, *, on_shift: Sequence[UUID], payload: Mapping[str, Any], sweep_seconds: float
) -> list[Widened]:
    """Write a notification for everybody on shift or online who has none of this journey; return them."""
    parameters = {
        "journey_id": journey_id,
        "on_shift": list(on_shift),
        "payload": dict(payload),
        "sweep_seconds": sweep_seconds,
    }
    return [Widened(**row._mapping) for row in session.execute(_WIDEN, parameters)]


# Whoever had the customer in this round had their chance.
_CANDIDATE = text(f"""
SELECT c.id FROM consultants c
JOIN conversations v ON v.id = :conversation_id
JOIN users u ON u.id = v.customer_id
CROSS JOIN LATERAL (SELECT {CONNECTED} AND c.away_since IS NULL AS online) k
WHERE c.enabled AND (k.online OR (c.id = ANY(CAST(:on_shift AS uuid[]))
        AND EXISTS (SELECT FROM push_channels p WHERE p.consultant_id = c.id AND p.enabled)))
  AND NOT EXISTS (SELECT FROM claims l WHERE l.conversation_id = v.id AND l.consultant_id = c.id AND l.claimed_at >= :waiting_since)
ORDER BY k.online DESC,
         jsonb_exists(c.languages, lower(split_part(replace(coalesce(u.locale, 'zh'), '_', '-'), '-', 1))) DESC,
         (SELECT count(*) FROM jsonb_array_elements_text(u.interests) i WHERE jsonb_exists(c.skills, i.value)) DESC,
         (SELECT count(*) FROM conversations o WHERE o.claimed_by_id = c.id AND o.claimed_at > now() - interval '1 day'),
         md5(v.id::text || c.id::text)
LIMIT 1
""")


def find_candidate(session: Session, due: DueRung, *, on_shift: Sequence[UUID]) -> UUID | None:
    """Return whom to give the customer to: online first, then the best match with the least to do."""
    parameters = {
        "conversation_id": due.conversation_id,
        "waiting_since": due.waiting_since,
        "on_shift": list(on_shift),
    }
    found: UUID | None = session.execute(_CANDIDATE, parameters).scalar()
    return found


_PUSH = text("""
INSERT INTO escalation_pushes (id, escalation_id, journey_id, consultant_id, status, payload, due_at, sweep_at)
SELECT anmei_uuid7(), :escalation_id, :journey_id, g.id, 'pending', :payload, now(), now() + make_interval(secs => :sweep_seconds)
FROM unnest(CAST(:consultant_ids AS uuid[])) AS g(id)
WHERE EXISTS (SELECT FROM push_channels p WHERE p.consultant_id = g.id AND p.enabled)
ON CONFLICT (escalation_id, consultant_id) DO NOTHING
RETURNING id
""").bindparams(bindparam("payload", type_=JSONB))


def add_pushes(
    session: Session, due: DueRung, consultant_ids: Sequence[UUID], *, payload: Mapping[str, Any], sweep_seconds: float
) -> list[UUID]:
    """Write a push of this rung for each of the consultants whom one reaches; return them."""
    parameters = {
        "escalation_id": due.id,
        "journey_id": due.journey_id,
        "consultant_ids": list(consultant_ids),
        "payload": dict(payload),
        "sweep_seconds": sweep_seconds,
    }
    return list(session.execute(_PUSH, parameters).scalars())
