"""What operators do with journeys: replay from a step, cancel."""

from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from core.database import unit_of_work
from core.errors import ConflictError
from models import DeadLetterStatus, StepName, StepStatus
from queries import dead_letters as dead_letter_queries
from queries import journeys as queries
from queries import journeys_read
from queries.dead_letters import Revival
from services import audit, masking
from services.dead_letters import Replayed


def replay(journey_id: UUID, *, actor: str, from_step: StepName | None = None, origin: str | None = None) -> Replayed:
    """Have a step done again at once: the named one, else the one that failed, else the one that waits for its retry.

    Closes the step's open dead letter as replayed. Audited. Raises NotFoundError; ConflictError when there is nothing to
    do again: effects happen once, so a step that succeeded cannot be replayed.
    """
    with unit_of_work() as session:
        journey = queries.get_journey(session, journey_id)
        steps = {StepName(step.name): step for step in queries.list_steps(session, journey_id)}
        step = from_step or _stuck(steps={name: StepStatus(step.status) for name, step in steps.items()})
        if step is None or step not in steps:
            raise ConflictError(
                f"the journey is {journey.status}: no step of it failed or waits", code="NOTHING_TO_REPLAY"
            )
        revived = dead_letter_queries.revive_steps(session, [Revival(journey_id, step, None, 0.0)])
        if steps[step].due_at is None and steps[step].status == StepStatus.PENDING:
            raise ConflictError(f"{step} waits for the step before it", code="STEP_NOT_DUE")
        if not revived:
            raise ConflictError(
                f"{step} is {steps[step].status}: only a failed or waiting step can be replayed",
                code="STEP_NOT_REPLAYABLE",
            )
        for letter in dead_letter_queries.lock_open_of_journey(session, journey_id):
            if letter.step == step:
                letter.status, letter.closed_by, letter.closed_at = DeadLetterStatus.REPLAYED, actor, func.now()
        audit.record(
            session,
            actor=actor,
            action="journey.replay",
            subject=f"journey:{journey_id}",
            before={"status": journey.status},
            after={"from_step": step},
            origin=origin,
        )
        return Replayed(journey_id, step)


def cancel(
    journey_id: UUID, *, actor: str, reason: str = "cancelled by an operator", origin: str | None = None
) -> None:
    """End an open journey; what it has done stays. Audited. Raises NotFoundError, ConflictError when it is finished."""
    with unit_of_work() as session:
        journey = queries.get_journey(session, journey_id)
        if not dead_letter_queries.cancel_journey(session, journey_id, reason=reason):
            raise ConflictError(f"the journey is {journey.status} already", code="JOURNEY_FINISHED")
        for letter in dead_letter_queries.lock_open_of_journey(session, journey_id):
            letter.status, letter.closed_by, letter.closed_at = DeadLetterStatus.DISCARDED, actor, func.now()
            letter.reason = reason
        audit.record(
            session,
            actor=actor,
            action="journey.cancel",
            subject=f"journey:{journey_id}",
            before={"status": journey.status},
            after={"reason": masking.prose(reason, _names(session, journey_id))},
            origin=origin,
        )


def _names(session: Session, journey_id: UUID) -> tuple[str | None, ...]:
    return masking.names_of(journeys_read.list_users_of(session, [journey_id])[journey_id])


def _stuck(steps: dict[StepName, StepStatus]) -> StepName | None:
    for status in (StepStatus.FAILED, StepStatus.WAITING):
        for name, current in steps.items():
            if current is status:
                return name
    return None
