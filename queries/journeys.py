"""Reads of single journeys."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from models import Journey, JourneyStatus, JourneyStep


def get_journey(session: Session, journey_id: UUID) -> Journey:
    """Return the journey; raise NotFoundError."""
    found = session.get(Journey, journey_id)
    if found is None:
        raise NotFoundError(f"no journey {journey_id}", code="JOURNEY_NOT_FOUND")
    return found


def list_newest(session: Session, *, status: JourneyStatus | None, limit: int) -> list[Journey]:
    """Return the newest journeys, of one status or of all."""
    query = select(Journey).order_by(Journey.accepted_at.desc()).limit(limit)
    return list(session.scalars(query if status is None else query.where(Journey.status == status)))


def list_steps(session: Session, journey_id: UUID) -> list[JourneyStep]:
    """Return the journey's steps in their order."""
    return list(
        session.scalars(select(JourneyStep).where(JourneyStep.journey_id == journey_id).order_by(JourneyStep.position))
    )
