"""Telling Celery, and so Flower, truthfully what became of a step."""

from typing import Any, NoReturn
from uuid import UUID

from celery.exceptions import Retry

from core.errors import PermanentError
from models import StepName
from services import journey_plan
from services.steps.outcome import Outcome
from tasks.publish import publish_steps


class StepFailedError(PermanentError):
    """A step failed for good; its dead letter is open. Raised so that the task shows as FAILURE."""

    code = "STEP_FAILED"


def conclude(step: StepName, outcome: Outcome) -> dict[str, Any]:
    """Return counts when all went well; else see that the others' next step is sent, and raise Retry or StepFailedError."""
    if outcome.failed or outcome.waiting:
        _send_successor(step, outcome.done)
        _raise(outcome)
    return {"done": len(outcome.done)}


def _send_successor(step: StepName, journey_ids: set[UUID]) -> None:
    # A task that raises ends its chain, also for the journeys of the set that went well.
    rest = journey_plan.steps_from(step)[1:]
    if rest and journey_ids:
        publish_steps(rest[0].name, journey_ids)


def _raise(outcome: Outcome) -> NoReturn:
    error = StepFailedError(", ".join(f"{one}: {code}" for one, code in outcome.errors.items()))
    if outcome.failed:
        raise error
    # The retry itself is the step's row with its due time, not a message: Retry only names what happened.
    raise Retry(message="waiting for a retry", exc=error)
