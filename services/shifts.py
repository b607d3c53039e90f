"""Who works when: the consultants' hours as this process knows them, current within a second of a change."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session

from core import log_events
from core.logging import get_logger
from core.snapshots import Snapshot
from queries import consultants as queries
from services import automation
from services.working_hours import WorkingHours

log = get_logger(__name__)

# The name under which changes are announced (migration 0009).
ANNOUNCED_AS = "consultants"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A consultant's own hours; None where the settings' apply."""

    consultant_id: UUID
    hours: WorkingHours | None


def on_shift(at: datetime) -> list[UUID]:
    """Return the enabled consultants who work at this time."""
    usual = automation.current().notification.working_hours
    usually = usual.is_open(at)
    return [
        one.consultant_id for one in _schedules.current() if (usually if one.hours is None else one.hours.is_open(at))
    ]


def reload() -> None:
    """Load the hours anew in this process; the others hear of a change by themselves."""
    _schedules.reload()


def _load(session: Session) -> tuple[Schedule, ...]:
    return tuple(Schedule(one_id, _hours(one_id, stored)) for one_id, stored in queries.list_working_hours(session))


def _hours(consultant_id: UUID, stored: dict[str, Any] | None) -> WorkingHours | None:
    if stored is None:
        return None
    try:
        return WorkingHours.model_validate(stored)
    except ValidationError as error:
        # Hours another release wrote, or a hand: one consultant's must not take away everybody's.
        log.error(log_events.WORKING_HOURS_REFUSED, consultant_id=str(consultant_id), errors=error.error_count())
        return None


_schedules: Snapshot[tuple[Schedule, ...]] = Snapshot(ANNOUNCED_AS, _load)
