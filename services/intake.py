"""Accepting registrations: many at once, one transaction, one journey a user for ever."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from sqlalchemy.exc import DBAPIError

from core import log_events, tracing
from core.database import journey_work
from core.ids import new_handle, new_id_text
from core.logging import get_logger
from models import JourneyKind
from queries import intake as intake_queries
from services import automation, journey_plan, mcp_registry, rollout
from services.automation import AutomationSettings, WelcomeStrategy
from services.rollout import SkipReason

log = get_logger(__name__)


def _storable(value: Any) -> Any:
    """Refuse what PostgreSQL's text and jsonb cannot hold: NUL, unpaired surrogates, infinite numbers."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("must not contain the NUL character (U+0000)")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("must not contain unpaired surrogates") from None
    elif isinstance(value, float) and not isfinite(value):
        raise ValueError("must be a finite number")
    elif isinstance(value, dict):
        for key, item in value.items():
            _storable(key)
            _storable(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _storable(item)
    return value


ShortText = Annotated[str, Field(max_length=200), BeforeValidator(_storable)]
KeyText = Annotated[str, Field(min_length=1, max_length=200), BeforeValidator(_storable)]


class Registration(BaseModel):
    """One new customer as the signup service tells of them; unknown fields are kept with the user."""

    model_config = ConfigDict(extra="allow", str_strip_whitespace=False)

    user_id: KeyText
    # Long names are real; what an agent is given of them is capped where the prompt is made.
    username: Annotated[str, Field(min_length=1, max_length=10_000), BeforeValidator(_storable)]
    email: ShortText | None = None
    phone: ShortText | None = None
    avatar: Annotated[str, Field(max_length=2000), BeforeValidator(_storable)] | None = None
    roles: Annotated[list[ShortText], Field(max_length=50)] = ["customer"]
    primary_role: ShortText | None = None
    locale: ShortText | None = None
    source: ShortText | None = None
    interests: Annotated[list[ShortText], Field(max_length=100)] = []
    registered_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _extra_is_storable(self) -> Self:
        _storable(self.model_extra)
        return self


_KEPT_AS_GIVEN = set(Registration.model_fields) - {"user_id", "registered_at"}


class IntakeStatus(StrEnum):
    ACCEPTED = "accepted"
    SKIPPED = "skipped"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Submission:
    """One registration to accept, with the webhook-id it came under (none for in-process calls)."""

    registration: Registration
    webhook_id: str | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    journey_id: UUID
    status: IntakeStatus
    reason: str | None = None


def accept(submissions: Sequence[Submission]) -> list[Acceptance]:
    """Commit the registrations in one transaction and return what became of each, in order.

    Idempotent: a user or webhook-id already known yields the first journey as `duplicate`. Raises
    DatabaseUnavailableError; nothing was written then, or it was and a repeat finds it.
    """
    try:
        return _accept(submissions)
    except DBAPIError:
        # One registration the database refuses must not take the others of its set with it.
        if len(submissions) == 1:
            raise
        return [acceptance for one in submissions for acceptance in accept([one])]


def on_user_registered(user_id: str, user_info: dict[str, Any]) -> Acceptance:
    """Accept one registration from the same process. Raises pydantic.ValidationError for wrong fields."""
    registration = Registration.model_validate({**user_info, "user_id": user_id})
    return accept([Submission(registration)])[0]


def _accept(submissions: Sequence[Submission]) -> list[Acceptance]:
    settings = automation.current()
    rows = [_row(one, settings) for one in submissions]
    with tracing.gathered("accept registrations") as span, journey_work() as connection:
        made = intake_queries.insert_registrations(
            connection,
            _first_of_each(rows),
            kind=JourneyKind.REGISTRATION,
            steps=list(journey_plan.step_names()),
            settings_version=automation.current_version(),
            greet_by_seconds=_greet_by_seconds(settings),
            sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
        )
        span.belongs_to(made)
        others = [row for row in rows if UUID(row["journey_id"]) not in made]
        first = intake_queries.resolve_duplicates(connection, others, kind=JourneyKind.REGISTRATION) if others else {}
    return [_acceptance(row, made, first) for row in rows]


def _first_of_each(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows without repeats within the set: the first of a user or webhook-id is the one that counts."""
    seen: set[tuple[str, str]] = set()
    first = []
    for row in rows:
        keys = {("user", row["external_id"])} | ({("webhook", row["webhook_id"])} if row["webhook_id"] else set())
        if not keys & seen:
            first.append(row)
            seen |= keys
    # In one order in every process: two sets with the same users wait for each other instead of deadlocking.
    return sorted(first, key=lambda row: str(row["external_id"]))


def _acceptance(row: dict[str, Any], made: set[UUID], first: dict[UUID, UUID]) -> Acceptance:
    journey_id = UUID(row["journey_id"])
    if journey_id not in made:
        return Acceptance(first[journey_id], IntakeStatus.DUPLICATE)
    if row["skip_reason"] is not None:
        log.info(
            log_events.AUTOMATION_SKIPPED,
            user_id=row["external_id"],
            journey_id=str(journey_id),
            reason=row["skip_reason"],
        )
        return Acceptance(journey_id, IntakeStatus.SKIPPED, row["skip_reason"])
    log.info(
        log_events.AUTOMATION_STARTED, user_id=row["external_id"], username=row["username"], journey_id=str(journey_id)
    )
    return Acceptance(journey_id, IntakeStatus.ACCEPTED)


def _row(submission: Submission, settings: AutomationSettings) -> dict[str, Any]:
    registration = submission.registration
    return {
        **registration.model_dump(include=_KEPT_AS_GIVEN),
        "external_id": registration.user_id,
        "extra": registration.model_extra or {},
        "registered_at": _iso(registration.registered_at),
        "webhook_id": submission.webhook_id,
        "user_id": new_id_text(),
        "journey_id": new_id_text(),
        "step_ids": [new_id_text() for _ in journey_plan.step_names()],
        "handle": new_handle(),
        "skip_reason": skip_reason(registration, settings),
    }


def skip_reason(registration: Registration, settings: AutomationSettings) -> str | None:
    """Return why this registration starts no automation, or None when it does."""
    if not settings.enabled:
        return SkipReason.AUTOMATION_DISABLED
    # Read from a snapshot in memory, as the settings are. Nobody asks for a profile where only templates are sent.
    asks_agent = settings.welcome_strategy is not WelcomeStrategy.TEMPLATE_ONLY
    if asks_agent and settings.rollout.require_profile_tool and mcp_registry.is_switched_off(rollout.PROFILE_TOOL):
        return SkipReason.TOOL_UNAVAILABLE
    return rollout.skip_reason(
        settings.rollout, user_id=registration.user_id, email=registration.email, roles=registration.roles
    )


def _greet_by_seconds(settings: AutomationSettings) -> float | None:
    if settings.welcome_strategy is WelcomeStrategy.AGENT_ONLY:
        return None
    return journey_plan.template_seconds(settings.welcome_deadline_ms)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
