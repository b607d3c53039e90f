"""The outbox of customers' ratings for the agents' providers: noting, claiming and finishing what they are told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

# The call that wrote the message is the one that ended when it was stored: another answer of the journey may have come
# too late to be stored. Nothing was told yet of a rating that says nothing, so nothing is to be told.
_NOTE = text("""
INSERT INTO agent_feedback (message_id, call_id, verdict, comment, sweep_at)
SELECT m.id, c.id, :verdict, :comment, now() + make_interval(secs => :sweep_seconds)
FROM messages m
CROSS JOIN LATERAL (
    SELECT id FROM agent_calls c
    WHERE c.journey_id = m.journey_id AND c.status = 'succeeded' AND c.refusal IS NULL AND c.provider_message_id IS NOT NULL
    ORDER BY abs(extract(epoch FROM c.finished_at - m.created_at)) LIMIT 1
) c
WHERE m.id = :message_id AND m.source = 'agent'
  AND (CAST(:verdict AS text) IS NOT NULL OR EXISTS (SELECT FROM agent_feedback WHERE message_id = :message_id))
ON CONFLICT (message_id) DO UPDATE
SET verdict = excluded.verdict, comment = excluded.comment, revision = agent_feedback.revision + 1, status = 'pending',
    attempts = 0, due_at = now(), error_code = NULL, error_text = NULL,
    sweep_at = greatest(excluded.sweep_at, agent_feedback.lease_until)
RETURNING message_id
""")


def note(session: Session, message_id: UUID, *, verdict: str | None, comment: str | None, sweep_seconds: float) -> bool:
    """Note what the provider of this message is to be told; False where no provider wrote it, or there is nothing to tell."""
    values = {"message_id": message_id, "verdict": verdict, "comment": comment, "sweep_seconds": sweep_seconds}
    return session.execute(_NOTE, values).first() is not None


@dataclass(frozen=True, slots=True)
class Telling:
    """One rating to tell, ours until its lease runs out; the calls' version and agent say whom, with which key."""

    message_id: UUID
    verdict: str | None
    comment: str | None
    revision: int
    attempts: int
    agent_id: UUID
    version_id: UUID | None
    provider_message_id: str
    # The run's own end-user key.
    handle: str


_CLAIM = text("""
WITH due AS MATERIALIZED (
    SELECT message_id FROM agent_feedback
    WHERE message_id = ANY(:ids) AND status = 'pending' AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY message_id FOR UPDATE SKIP LOCKED
)
UPDATE agent_feedback f
SET attempts = f.attempts + 1, lease_token = :token, lease_until = now() + make_interval(secs => :lease_seconds),
    sweep_at = now() + make_interval(secs => :lease_seconds)
FROM due, agent_calls c, journeys j
WHERE f.message_id = due.message_id AND c.id = f.call_id AND j.id = c.journey_id
RETURNING f.message_id, f.verdict, f.comment, f.revision, f.attempts, c.agent_id, c.version_id, c.provider_message_id, j.handle
""")


def claim(session: Session, ids: Sequence[UUID], *, token: UUID, lease_seconds: float) -> list[Telling]:
    """Take the ratings among these that are due and that nobody else is telling."""
    rows = session.execute(_CLAIM, {"ids": list(ids), "token": token, "lease_seconds": lease_seconds})
    return [Telling(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class TellingEnd:
    """How one telling ended: told, to be tried again after some seconds, or failed for good."""

    message_id: UUID
    revision: int
    error_code: str | None = None
    error_text: str | None = None
    retry_in_seconds: float | None = None


# A rating that changed while the old one was told stays pending, due at once, with its attempts uncounted.
_END = text("""
UPDATE agent_feedback f
SET lease_token = NULL, lease_until = NULL,
    status = CASE WHEN f.revision <> e.revision THEN 'pending' WHEN e.error_code IS NULL THEN 'sent'
                  WHEN e.retry_in_seconds IS NULL THEN 'failed' ELSE 'pending' END,
    sent_at = CASE WHEN e.error_code IS NULL THEN now() ELSE f.sent_at END,
    error_code = e.error_code, error_text = e.error_text,
    due_at = now() + make_interval(secs => CASE WHEN f.revision = e.revision THEN coalesce(e.retry_in_seconds, 0) ELSE 0 END),
    sweep_at = CASE WHEN f.revision <> e.revision THEN now()
                    WHEN e.error_code IS NULL OR e.retry_in_seconds IS NULL THEN NULL
                    ELSE now() + make_interval(secs => e.retry_in_seconds) END
FROM jsonb_to_recordset(:ends) AS e(
    message_id uuid, revision integer, error_code text, error_text text, retry_in_seconds float8)
WHERE f.message_id = e.message_id AND f.lease_token = :token
""").bindparams(bindparam("ends", type_=JSONB))


def end(session: Session, ends: Sequence[TellingEnd], *, token: UUID) -> None:
    """Record how the tellings ended, where their lease is still ours. Idempotent."""
    rows = [{**asdict(one), "message_id": str(one.message_id)} for one in ends]
    session.execute(_END, {"ends": rows, "token": token})


_SWEEP = text("""
WITH due AS MATERIALIZED (
    SELECT message_id FROM agent_feedback WHERE sweep_at <= now() ORDER BY sweep_at LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE agent_feedback f SET sweep_at = now() + make_interval(secs => :again_seconds)
FROM due WHERE f.message_id = due.message_id
RETURNING f.message_id
""")


def sweep(session: Session, *, most: int, again_seconds: float) -> list[UUID]:
    """Take the ratings to look at now, and set the next look."""
    return list(session.execute(_SWEEP, {"most": most, "again_seconds": again_seconds}).scalars())
