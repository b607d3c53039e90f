"""Dead letters: reads, locks, and the statements that bring a step back or end it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

from core.errors import NotFoundError
from models import DeadLetter, DeadLetterStatus, StepName


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant; what is None does not restrict. Times are aware."""

    status: DeadLetterStatus | None = None
    step: StepName | None = None
    error_code: str | None = None
    journey_id: UUID | None = None
    opened_from: datetime | None = None
    opened_to: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = []
        for column, value in (
            (DeadLetter.status, self.status),
            (DeadLetter.step, self.step),
            (DeadLetter.error_code, self.error_code),
            (DeadLetter.journey_id, self.journey_id),
        ):
            if value is not None:
                conditions.append(column == value)
        if self.opened_from is not None:
            conditions.append(DeadLetter.opened_at >= self.opened_from)
        if self.opened_to is not None:
            conditions.append(DeadLetter.opened_at < self.opened_to)
        return conditions


def list_dead_letters(
    session: Session, wanted: DeadLetterFilter, *, before: UUID | None, limit: int
) -> list[DeadLetter]:
    """Return the newest dead letters first, those before the given id, at most `limit`."""
    query = select(DeadLetter).where(*wanted.conditions()).order_by(DeadLetter.id.desc()).limit(limit)
    if before is not None:
        query = query.where(DeadLetter.id < before)
    return list(session.scalars(query))


def get_dead_letter(session: Session, dead_letter_id: UUID) -> DeadLetter:
    """Return the dead letter; raise NotFoundError."""
    found = session.get(DeadLetter, dead_letter_id)
    if found is None:
        raise NotFoundError(f"no dead letter {dead_letter_id}", code="DEAD_LETTER_NOT_FOUND")
    return found


def count_open(session: Session, wanted: DeadLetterFilter | None = None) -> int:
    """Return how many dead letters are open, of those that match where a filter is given."""
    conditions = wanted.conditions() if wanted is not None else []
    return session.scalar(select(func.count()).where(DeadLetter.status == DeadLetterStatus.OPEN, *conditions)) or 0


def lock_dead_letter(session: Session, dead_letter_id: UUID) -> DeadLetter:
    """Return the dead letter, its row locked until the transaction ends; raise NotFoundError."""
    found = session.scalar(select(DeadLetter).where(DeadLetter.id == dead_letter_id).with_for_update())
    if found is None:
        raise NotFoundError(f"no dead letter {dead_letter_id}", code="DEAD_LETTER_NOT_FOUND")
    return found


def lock_open_of_journey(session: Session, journey_id: UUID) -> list[DeadLetter]:
    """Return the journey's open dead letters, locked."""
    return list(
        session.scalars(
            select(DeadLetter)
            .where(DeadLetter.journey_id == journey_id, DeadLetter.status == DeadLetterStatus.OPEN)
            .order_by(DeadLetter.id)
            .with_for_update()
        )
    )


def lock_some_open(session: Session, wanted: DeadLetterFilter, *, most: int) -> list[DeadLetter]:
    """Return open dead letters that match, oldest first, locked; those somebody else is handling are passed over."""
    return list(
        session.scalars(
            select(DeadLetter)
            .where(*wanted.conditions(), DeadLetter.status == DeadLetterStatus.OPEN)
            .order_by(DeadLetter.id)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
    )


_REVIVE = text("""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(:revived) AS r(journey_id uuid, step text, payload jsonb, in_seconds float8)
),
locked AS MATERIALIZED (
    SELECT id FROM journeys WHERE id IN (SELECT journey_id FROM given) ORDER BY id FOR NO KEY UPDATE
),
revived AS (
    UPDATE journey_steps s
    SET status = 'pending', failures = 0, published = 0, payload = coalesce(g.payload, s.payload),
        due_at = now() + make_interval(secs => g.in_seconds), sweep_at = now() + make_interval(secs => g.in_seconds),
        lease_token = NULL, lease_until = NULL, finished_at = NULL
    FROM given g JOIN locked l ON l.id = g.journey_id
    WHERE s.journey_id = g.journey_id AND s.name = g.step AND s.status IN ('failed', 'waiting', 'pending')
    RETURNING s.journey_id, s.name
)
UPDATE journeys j SET finished_at = NULL,
    status = CASE WHEN EXISTS (
        SELECT FROM journey_steps o WHERE o.journey_id = j.id AND o.status = 'failed' AND o.name <> r.name
    ) THEN 'failed' ELSE 'running' END
FROM revived r WHERE j.id = r.journey_id
RETURNING j.id
""").bindparams(bindparam("revived", type_=JSONB))


@dataclass(frozen=True, slots=True)
class Revival:
    """A step to be done again, after some seconds, with other inputs where a payload is given."""

    journey_id: UUID
    step: str
    payload: dict[str, Any] | None
    in_seconds: float


def revive_steps(session: Session, revivals: Sequence[Revival]) -> set[UUID]:
    """Make failed or waiting steps due again, their retries counted anew; return the journeys where that was possible."""
    rows = [
        {"journey_id": str(one.journey_id), "step": one.step, "payload": one.payload, "in_seconds": one.in_seconds}
        for one in revivals
    ]
    return set(session.execute(_REVIVE, {"revived": rows}).scalars())


_END = text("""
WITH locked AS MATERIALIZED (
    SELECT id FROM journeys WHERE id = :journey_id AND finished_at IS NULL FOR NO KEY UPDATE
),
ended AS (
    UPDATE journey_steps s
    SET status = CASE WHEN s.status = 'failed' THEN s.status ELSE 'skipped' END, lease_token = NULL, lease_until = NULL,
        due_at = NULL, sweep_at = NULL, finished_at = coalesce(s.finished_at, now())
    FROM locked l
    WHERE s.journey_id = l.id AND s.status IN ('pending', 'waiting', 'running', 'failed')
    RETURNING s.id
)
UPDATE journeys j SET status = 'cancelled', reason = :reason, open_steps = 0, finished_at = now(), handle_expires_at = now()
FROM locked l WHERE j.id = l.id
RETURNING j.id
""")


def cancel_journey(session: Session, journey_id: UUID, *, reason: str) -> bool:
    """End an open journey: its open steps are skipped, leases end, so a worker that is at it writes nothing more.

    Return False when the journey was finished already (or does not exist).
    """
    return session.scalar(_END, {"journey_id": journey_id, "reason": reason}) is not None
