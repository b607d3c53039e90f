"""Journeys as operators look at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from core.database import unit_of_work
from models import Claim, JourneyStep, User
from queries import journeys, journeys_read, progress, users
from queries.journeys_read import JourneyFilter, JourneyRow
from queries.progress import Record
from services.timeline import Event, timeline


@dataclass(frozen=True, slots=True)
class JourneyDetail:
    """Everything the record holds of one journey, and the same as one timeline in words."""

    record: Record
    user: User
    steps: Sequence[JourneyStep]
    claims: Sequence[tuple[Claim, str]]
    timeline: list[Event]


def listed(wanted: JourneyFilter, *, before: UUID | None, limit: int) -> list[JourneyRow]:
    """Return journeys, newest first."""
    with unit_of_work() as session:
        return journeys_read.list_journeys(session, wanted, before=before, limit=limit)


def detail(journey_id: UUID) -> JourneyDetail:
    """Return all there is of a journey; raise NotFoundError."""
    with unit_of_work() as session:
        journey = journeys.get_journey(session, journey_id)
        record = progress.get_record(session, journey_id)
        user = users.get_user(session, journey.user_id)
        steps = journeys.list_steps(session, journey_id)
        claims = journeys_read.list_claims(session, journey_id)
    return JourneyDetail(record, user, steps, claims, timeline(journey_id))
