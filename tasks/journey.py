"""Celery entry points for journey steps. The rules live in services.steps."""

from typing import Any
from uuid import UUID

from core.errors import AnmeiError
from models import StepName
from services.steps.conversation import create_conversation as create_conversation_step
from services.steps.notification import notify_consultants as notify_consultants_step
from services.steps.welcome import generate_welcome as generate_welcome_step
from tasks.conclude import conclude
from tasks.names import TaskName
from tasks.notified import send_notifications
from tasks.publish import publish_notify
from tasks.sweeping import sweep_once
from worker.app import app


@app.task(name=TaskName.CREATE_CONVERSATION, throws=(AnmeiError,))
def create_conversation(*, journey_ids: list[str]) -> dict[str, Any]:
    """Open the conversations of these journeys. Safe to deliver twice: a finished step is left alone."""
    return conclude(StepName.CREATE_CONVERSATION, create_conversation_step([UUID(one) for one in journey_ids]))


@app.task(name=TaskName.GENERATE_WELCOME, throws=(AnmeiError,))
def generate_welcome(*, journey_ids: list[str]) -> dict[str, Any]:
    """Have the welcomes of these journeys written. Safe to deliver twice: a step under a lease is left alone."""
    outcome = generate_welcome_step([UUID(one) for one in journey_ids], on_ready=publish_notify)
    return conclude(StepName.GENERATE_WELCOME, outcome)


@app.task(name=TaskName.NOTIFY_CONSULTANTS, throws=(AnmeiError,))
def notify_consultants(*, journey_ids: list[str]) -> dict[str, Any]:
    """Tell the consultants of these journeys. Safe to deliver twice: a finished step is left alone."""
    outcome = notify_consultants_step([UUID(one) for one in journey_ids], on_told=send_notifications)
    return conclude(StepName.NOTIFY_CONSULTANTS, outcome)


@app.task(name=TaskName.SWEEP)
def sweep() -> dict[str, int]:
    """Send messages for whatever is due now. Safe at any time and any number at once."""
    return sweep_once()
