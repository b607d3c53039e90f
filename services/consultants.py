"""What customers are matched by: a consultant's languages, skills and hours, and who supervises."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError

from core.database import unit_of_work
from models import Consultant
from queries import consultants as queries
from queries import push_channels as channel_queries
from services import audit, shifts
from services.working_hours import WorkingHours


@dataclass(frozen=True, slots=True)
class Profile:
    """A consultant's own word to the matching; hours of None are those of the settings."""

    languages: Sequence[str]
    skills: Sequence[str]
    working_hours: WorkingHours | None
    is_supervisor: bool


def profile(consultant_id: UUID) -> Profile:
    """Return a consultant's profile; raise NotFoundError."""
    with unit_of_work() as session:
        return _read(channel_queries.lock_consultant(session, consultant_id))


def change_profile(consultant_id: UUID, wanted: Profile, *, actor: str) -> Profile:
    """Replace a consultant's profile, at once for every process; raise NotFoundError. Audited."""
    hours = wanted.working_hours.model_dump(mode="json") if wanted.working_hours is not None else None
    after = {
        "languages": list(wanted.languages),
        "skills": list(wanted.skills),
        "working_hours": hours,
        "is_supervisor": wanted.is_supervisor,
    }
    with unit_of_work() as session:
        found = channel_queries.lock_consultant(session, consultant_id)
        before = {name: getattr(found, name) for name in after}
        queries.change_profile(session, consultant_id, after)
        subject = f"consultant:{consultant_id}"
        audit.record(
            session, actor=actor, action="consultant.profile", subject=subject, before=before, after=dict(after)
        )
    # The process that made the change follows it before it answers.
    shifts.reload()
    return wanted


def locale_of(user_id: UUID) -> str | None:
    """Return the language a consultant, or anybody else who signs in, is told things in; None for the installation's."""
    with unit_of_work() as session:
        return queries.find_locale(session, user_id)


def set_locale(user_id: UUID, locale: str) -> None:
    """Note the language somebody is told things in: by pushes at once, by sockets when they are opened next."""
    with unit_of_work() as session:
        queries.set_locale(session, user_id, locale)


def _read(found: Consultant) -> Profile:
    hours = None
    if found.working_hours:
        try:
            hours = WorkingHours.model_validate(found.working_hours)
        except ValidationError:
            # What cannot be read does not count, so it is not shown as if it did (services.shifts logs it).
            hours = None
    return Profile(found.languages, found.skills, hours, found.is_supervisor)
