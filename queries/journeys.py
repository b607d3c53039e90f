"""Reads of single journeys."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from models import Journey, JourneyStep


def get_journey(session: Session, journey_id: UUID) -> Journey:
    """Return the journey; raise NotFoundError."""
    found = session.get(Journey, journey_id)
    if found is None:
        raise NotFoundError(f"no journey {journey_id}", code="JOURNEY_NOT_FOUND")
    return found


def list_steps(session: Session, journey_id: UUID) -> list[JourneyStep]:
    """Return the journey's steps in their order."""
    return list(
        session.scalars(select(JourneyStep).where(JourneyStep.journey_id == journey_id).order_by(JourneyStep.position))
    )
