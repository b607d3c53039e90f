"""Celery entry points for what agents' providers are told. The rules live in services.agent_feedback."""

from uuid import UUID

from core.errors import AnmeiError
from services import agent_feedback
from tasks.names import TaskName
from worker.app import app


@app.task(name=TaskName.AGENT_FEEDBACK, throws=(AnmeiError,))
def feedback(*, message_ids: list[str]) -> int:
    """Tell providers how these messages were liked. Safe to deliver twice: one under a lease, or told, is left alone."""
    return agent_feedback.tell([UUID(one) for one in message_ids])
