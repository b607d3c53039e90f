"""One pass of the sweep: whatever is due, orphaned or was never published is published again."""

from collections import defaultdict
from uuid import UUID

from core import log_events
from core.database import unit_of_work
from core.errors import PermanentError
from core.logging import get_logger
from models import StepName, StepStatus
from queries import agent_feedback as feedback_queries
from queries import alerts as alert_queries
from queries import escalations as escalation_queries
from queries import notifications as notification_queries
from queries import steps as step_queries
from queries.steps import Due
from services import agent_feedback, delivery, escalations, journey_plan
from services.steps.failing import record_failures
from tasks.names import TaskName
from tasks.publish import (
    publish_agent_feedback,
    publish_deliveries,
    publish_escalations,
    publish_maintenance,
    publish_steps,
)

log = get_logger(__name__)

# More than this at once would keep the pass busy while urgent steps wait; the rest is taken by the next pass.
SWEEP_AT_ONCE = 500


def sweep_once() -> dict[str, int]:
    """Publish what is due and return how much of it. Any number may run at once: each takes rows no other has."""
    with unit_of_work() as session:
        due = step_queries.sweep_steps(
            session,
            most=SWEEP_AT_ONCE,
            first=journey_plan.SWEEP_FIRST_SECONDS,
            longest=journey_plan.SWEEP_MAX_SECONDS,
        )
        deliveries = notification_queries.sweep_notifications(
            session,
            most=SWEEP_AT_ONCE,
            first=journey_plan.SWEEP_FIRST_SECONDS,
            longest=journey_plan.SWEEP_MAX_SECONDS,
        )
        ratings = feedback_queries.sweep(session, most=SWEEP_AT_ONCE, again_seconds=agent_feedback.SWEEP_AGAIN_SECONDS)
        rungs = escalation_queries.sweep(session, most=SWEEP_AT_ONCE, again_seconds=escalations.SWEEP_AGAIN_SECONDS)
        alerts_due = alert_queries.any_due(session)
    for step, journey_ids in _by_step(_without_killers(due)).items():
        log.info(log_events.SWEEP_REPUBLISHED, step=step, count=len(journey_ids))
        if not publish_steps(step, journey_ids):
            with unit_of_work() as session:
                step_queries.sweep_again(session, step, journey_ids, seconds=journey_plan.SWEEP_FIRST_SECONDS)
    deliveries += delivery.pass_on_silent(most=SWEEP_AT_ONCE)
    if deliveries:
        publish_deliveries(deliveries)
    if rungs:
        publish_escalations(rungs)
    if ratings:
        publish_agent_feedback(ratings)
    if alerts_due:
        publish_maintenance(TaskName.SEND_ALERTS)
    return {"steps": len(due), "notifications": len(deliveries)}


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
