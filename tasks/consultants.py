"""Celery entry points for telling consultants. The rules live in services.delivery and services.escalations."""

from uuid import UUID

from core.errors import AnmeiError
from services import delivery, escalations
from tasks.names import TaskName
from tasks.publish import publish_deliveries
from worker.app import app


@app.task(name=TaskName.DELIVER, throws=(AnmeiError,))
def deliver(*, notification_ids: list[str]) -> int:
    """Make these pushes. Safe to deliver twice: a push under a lease, or sent, is left alone."""
    return delivery.deliver([UUID(one) for one in notification_ids])


@app.task(name=TaskName.ESCALATE, throws=(AnmeiError,))
def escalate(*, escalation_ids: list[str]) -> int:
    """Do these rungs of the escalation ladder. Safe to deliver twice: a rung that is done or stopped is left alone."""
    pushes = escalations.escalate([UUID(one) for one in escalation_ids])
    if pushes:
        publish_deliveries(pushes)
    return len(pushes)
