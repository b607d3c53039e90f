"""What is due now: steps, pushes, ladder rungs, ratings and alerts whose rows say so, whatever became of their messages."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from core.database import unit_of_work
from core.errors import PermanentError
from models import StepName, StepStatus
from queries import agent_feedback as feedback_queries
from queries import alerts as alert_queries
from queries import escalations as escalation_queries
from queries import notifications as notification_queries
from queries import steps as step_queries
from queries.steps import Due
from services import agent_feedback, delivery, escalations, journey_plan
from services.steps.failing import record_failures

# More than this at once would keep the pass busy while urgent steps wait; the rest is taken by the next pass.
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class DueWork:
    """What one pass took; nobody else takes it again before the next look at it."""

    steps: dict[StepName, list[UUID]]
    notifications: Sequence[UUID]
    rungs: Sequence[UUID]
    ratings: Sequence[UUID]
    alerts: bool


def take_due() -> DueWork:
    """Take what is due and set the next look at it further away. Any number at once: each takes rows no other has.

    Fails the steps that killed their worker too often. Raises DatabaseUnavailableError.
    """
    first, longest = journey_plan.SWEEP_FIRST_SECONDS, journey_plan.SWEEP_MAX_SECONDS
    with unit_of_work() as session:
        due = step_queries.sweep_steps(
            session, most=AT_ONCE, first=first, longest=longest, lease_seconds=journey_plan.LEASE_SECONDS
        )
        pushes = notification_queries.sweep_notifications(session, most=AT_ONCE, first=first, longest=longest)
        ratings = feedback_queries.sweep(session, most=AT_ONCE, again_seconds=agent_feedback.SWEEP_AGAIN_SECONDS)
        rungs = escalation_queries.sweep(session, most=AT_ONCE, again_seconds=escalations.SWEEP_AGAIN_SECONDS)
        alerts = alert_queries.any_due(session)
    pushes += delivery.pass_on_silent(most=AT_ONCE)
    return DueWork(_by_step(_without_killers(due)), pushes, rungs, ratings, alerts)


def look_again_soon(step: StepName, journey_ids: Sequence[UUID]) -> None:
    """Bring the next look at these steps forward: the message they were taken for could not be sent."""
    with unit_of_work() as session:
        step_queries.sweep_again(session, step, journey_ids, seconds=journey_plan.SWEEP_FIRST_SECONDS)


def _without_killers(due: list[Due]) -> list[Due]:
    """Fail the steps that took their worker with them too often, and return the others."""
    suspects = [
        one for one in due if one.status == StepStatus.RUNNING and one.attempts >= journey_plan.MAX_LOST_ATTEMPTS
    ]
    killers: set[tuple[StepName, UUID]] = set()
    for step, journey_ids in _by_step(suspects).items():
        with unit_of_work() as session:
            lost = step_queries.list_often_lost(session, step, journey_ids, lost=journey_plan.MAX_LOST_ATTEMPTS - 1)
        error = PermanentError("the step's worker died or hung at every attempt", code="WORKER_LOST")
        record_failures(step, dict.fromkeys(lost, error))
        killers |= {(step, one) for one in lost}
    return [one for one in due if (one.name, one.journey_id) not in killers]


def _by_step(due: list[Due]) -> dict[StepName, list[UUID]]:
    grouped: dict[StepName, list[UUID]] = defaultdict(list)
    for one in due:
        grouped[one.name].append(one.journey_id)
    return grouped
