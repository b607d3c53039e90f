"""Journeys as operators look at them: filtered lists, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from models import Claim, Consultant, Conversation, Journey, User


@dataclass(frozen=True, slots=True)
class JourneyFilter:
    """Which journeys are meant; what is None does not restrict. Times are aware; `step` is the one a journey is at."""

    status: str | None = None
    step: str | None = None
    # The signup service's id, or ours.
    user_id: str | None = None
    accepted_from: datetime | None = None
    accepted_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class JourneyRow:
    """A journey with its customer's name and the first step that is not done."""

    id: UUID
    user_id: UUID
    external_id: str | None
    username: str
    status: str
    reason: str | None
    step: str | None
    step_status: str | None
    attempts: int | None
    error_code: str | None
    accepted_at: datetime
    conversation_at: datetime | None
    greeted_at: datetime | None
    greeted_by: str | None
    notified_at: datetime | None
    finished_at: datetime | None


_COLUMNS = """
SELECT j.id, j.user_id, u.external_id, left(u.username, 200) AS username, j.status, j.reason,
       s.name AS step, s.status AS step_status, s.attempts, s.error_code,
       j.accepted_at, j.conversation_at, j.greeted_at, j.greeted_by, j.notified_at, j.finished_at
FROM journeys j
JOIN users u ON u.id = j.user_id
LEFT JOIN LATERAL (
    SELECT name, status, attempts, error_code FROM journey_steps s
    WHERE s.journey_id = j.id AND s.status NOT IN ('succeeded', 'skipped')
    ORDER BY s.position LIMIT 1
) s ON true"""


def list_journeys(session: Session, wanted: JourneyFilter, *, before: UUID | None, limit: int) -> list[JourneyRow]:
    """Return the newest journeys first, those before the given id, at most `limit`."""
    conditions = {
        "j.status = :status": ("status", wanted.status),
        "s.name = :step": ("step", wanted.step),
        "j.accepted_at >= :accepted_from": ("accepted_from", wanted.accepted_from),
        "j.accepted_at < :accepted_to": ("accepted_to", wanted.accepted_to),
        "j.id < :before": ("before", before),
    }
    used = {condition: pair for condition, pair in conditions.items() if pair[1] is not None}
    parameters: dict[str, Any] = {"limit": limit} | dict(used.values())
    where = [*used]
    if wanted.user_id is not None:
        where.append(
            "j.user_id IN (SELECT id FROM users WHERE external_id = :user_id OR id = CAST(:user_uuid AS uuid))"
        )
        parameters |= {"user_id": wanted.user_id, "user_uuid": _uuid(wanted.user_id)}
    restricted = f"WHERE {' AND '.join(where)}" if where else ""
    statement = text(f"{_COLUMNS} {restricted} ORDER BY j.id DESC LIMIT :limit")
    return [JourneyRow(**row._mapping) for row in session.execute(statement, parameters)]


def list_users_of(session: Session, journey_ids: Sequence[UUID]) -> dict[UUID, User]:
    """Return whose the journeys are."""
    rows = session.execute(
        select(Journey.id, User).join(User, User.id == Journey.user_id).where(Journey.id.in_(journey_ids))
    )
    return {row[0]: row[1] for row in rows}


def list_claims(session: Session, journey_id: UUID) -> Sequence[tuple[Claim, str]]:
    """Return who had the journey's conversation, and their names, in order."""
    rows = session.execute(
        select(Claim, Consultant.display_name)
        .join(Conversation, Conversation.id == Claim.conversation_id)
        .join(Consultant, Consultant.id == Claim.consultant_id)
        .where(Conversation.journey_id == journey_id)
        .order_by(Claim.claimed_at)
    )
    return [(row[0], row[1]) for row in rows]


def _uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None
