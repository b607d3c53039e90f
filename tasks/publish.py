"""Sending messages: hints that something is due. One that cannot be sent is logged and found again by the sweep."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from uuid import UUID

from celery import chain
from celery.canvas import Signature
from kombu.exceptions import OperationalError

from core import log_events
from core.faults import fault_point
from core.logging import get_logger
from models import StepName
from services import journey_plan
from services.journey_plan import Queue
from tasks.names import STEP_TASKS, TaskName
from worker.app import app

log = get_logger(__name__)


def publish_steps(first: StepName, journey_ids: Collection[UUID]) -> bool:
    """Send the chain that begins with this step, for all these journeys; tell whether every message was sent."""
    steps = journey_plan.steps_from(first)
    sent = [
        _send(chain(*[step_signature(step.name, chunk, step.queue) for step in steps]), first)
        for chunk in _chunks(journey_ids, journey_plan.MESSAGE_MAX_JOURNEYS)
    ]
    return all(sent)


def publish_notify(journey_ids: Collection[UUID]) -> None:
    """Send the last step for journeys where it became due outside their chain."""
    publish_steps(StepName.NOTIFY_CONSULTANTS, journey_ids)


def publish_deliveries(notification_ids: Collection[UUID]) -> None:
    """Ask for these notifications to be delivered."""
    for chunk in _chunks(notification_ids, journey_plan.MESSAGE_MAX_OUTBOUND):
        signature = _signature(TaskName.DELIVER, Queue.NOTIFICATIONS, notification_ids=[str(one) for one in chunk])
        _send(signature, "deliver")


def publish_agent_feedback(message_ids: Collection[UUID]) -> None:
    """Ask for the ratings of these messages to be told to the providers that wrote them."""
    for chunk in _chunks(message_ids, journey_plan.MESSAGE_MAX_OUTBOUND):
        signature = _signature(TaskName.AGENT_FEEDBACK, Queue.AGENTS, message_ids=[str(one) for one in chunk])
        _send(signature, "agent_feedback")


def publish_escalations(escalation_ids: Collection[UUID]) -> None:
    """Ask for these rungs of the escalation ladder to be done."""
    for chunk in _chunks(escalation_ids, journey_plan.MESSAGE_MAX_OUTBOUND):
        signature = _signature(TaskName.ESCALATE, Queue.NOTIFICATIONS, escalation_ids=[str(one) for one in chunk])
        _send(signature, "escalate")


def publish_maintenance(name: TaskName) -> bool:
    """Ask for one run of a maintenance task."""
    return _send(_signature(name, Queue.MAINTENANCE), name)


def step_signature(step: StepName, journey_ids: Sequence[UUID], queue: Queue) -> Signature:
    """Return the message that says: look at this step of these journeys now."""
    return _signature(STEP_TASKS[step], queue, journey_ids=[str(one) for one in journey_ids])


def _signature(name: TaskName, queue: Queue, **kwargs: object) -> Signature:
    return app.signature(name.value, kwargs=kwargs, immutable=True, queue=queue.value)


def _send(signature: Signature, what: str) -> bool:
    fault_point("before_publish")
    try:
        # No retry here: a request must not wait for a broker that is away, and the sweep tries again.
        signature.apply_async(retry=False)
    except OperationalError as error:
        log.warning(log_events.PUBLISH_FAILED, what=str(what), error=str(error)[:200])
        return False
    return True


def _chunks(items: Collection[UUID], size: int) -> Iterator[list[UUID]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
