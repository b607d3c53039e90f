"""The first step: the customer's default conversation."""

from collections.abc import Sequence
from uuid import UUID

from core import log_events
from core.database import journey_work
from core.faults import fault_point
from core.logging import get_logger
from models import StepName
from queries import effects
from services import automation, journey_plan
from services.steps.failing import alone_if_together_fails
from services.steps.outcome import Outcome
from services.worker_name import worker_name

log = get_logger(__name__)


def create_conversation(journey_ids: Sequence[UUID]) -> Outcome:
    """Open the conversations of the journeys whose step is due, in one transaction. Idempotent; locks the journeys."""
    return alone_if_together_fails(StepName.CREATE_CONVERSATION, journey_ids, _open)


def _open(journey_ids: Sequence[UUID]) -> Outcome:
    settings = automation.current().conversation
    with journey_work() as connection:
        opened = effects.open_conversations(
            connection,
            journey_ids,
            step=StepName.CREATE_CONVERSATION,
            next_step=StepName.GENERATE_WELCOME,
            title=settings.title,
            tags=settings.tags,
            owner=settings.owner,
            worker=worker_name(),
            sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
        )
        fault_point("before_commit")
    fault_point("after_commit")
    for journey_id, conversation_id in opened.items():
        log.info(log_events.CONVERSATION_CREATED, journey_id=str(journey_id), conversation_id=str(conversation_id))
    return Outcome(done=set(opened))
