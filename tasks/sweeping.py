"""One pass of the sweep: whatever is due, orphaned or was never published is published again."""

from core import log_events
from core.logging import get_logger
from services import sweep
from tasks.names import TaskName
from tasks.publish import (
    publish_agent_feedback,
    publish_deliveries,
    publish_escalations,
    publish_maintenance,
    publish_steps,
)

log = get_logger(__name__)


def sweep_once() -> dict[str, int]:
    """Publish what is due and return how much of it. Any number may run at once."""
    due = sweep.take_due()
    for step, journey_ids in due.steps.items():
        log.info(log_events.SWEEP_REPUBLISHED, step=step, count=len(journey_ids))
        if not publish_steps(step, journey_ids):
            sweep.look_again_soon(step, journey_ids)
    if due.notifications:
        publish_deliveries(due.notifications)
    if due.rungs:
        publish_escalations(due.rungs)
    if due.ratings:
        publish_agent_feedback(due.ratings)
    if due.alerts:
        publish_maintenance(TaskName.SEND_ALERTS)
    return {"steps": sum(map(len, due.steps.values())), "notifications": len(due.notifications)}
