"""Journeys as operators look at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from core.database import unit_of_work
from models import Claim, JourneyStep, User
from queries import journeys, journeys_read, progress, users
from queries.journeys_read import JourneyFilter, JourneyRow
from queries.progress import Record
from services import masking
from services.timeline import Event, told


@dataclass(frozen=True, slots=True)
class JourneyDetail:
    """Everything the record holds of one journey, and the same as one timeline in words."""

    record: Record
    user: User
    steps: Sequence[JourneyStep]
    claims: Sequence[tuple[Claim, str]]
    timeline: list[Event]


def listed(wanted: JourneyFilter, *, before: UUID | None, limit: int, shown: bool = False) -> list[JourneyRow]:
    """Return journeys, newest first; their customers masked unless `shown` (services.reveal)."""
    with unit_of_work() as session:
        found = journeys_read.list_journeys(session, wanted, before=before, limit=limit)
    return found if shown else [masking.journey(one) for one in found]


def detail(journey_id: UUID, *, shown: bool = False) -> JourneyDetail:
    """Return all there is of a journey, its customer masked unless `shown`; raise NotFoundError."""
    with unit_of_work() as session:
        journey = journeys.get_journey(session, journey_id)
        record = progress.get_record(session, journey_id)
        user = users.get_user(session, journey.user_id)
        steps = journeys.list_steps(session, journey_id)
        claims = journeys_read.list_claims(session, journey_id)
    # No longer part of a transaction: what is masked here is written nowhere.
    if not shown:
        names = masking.names_of(user)
        masking.record(record, steps, names)
        masking.user(user, shown=False)
    return JourneyDetail(record, user, steps, claims, told(record))
