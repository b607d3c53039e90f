"""Celery entry points for telling consultants. The rules live in services.delivery."""

from uuid import UUID

from core.errors import AnmeiError
from services import delivery
from tasks.names import TaskName
from worker.app import app


@app.task(name=TaskName.DELIVER, throws=(AnmeiError,))
def deliver(*, notification_ids: list[str]) -> int:
    """Make these pushes. Safe to deliver twice: a push under a lease, or sent, is left alone."""
    return delivery.deliver([UUID(one) for one in notification_ids])
