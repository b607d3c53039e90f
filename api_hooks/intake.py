"""The webhook's hot path: registrations that come together are committed together, and published together afterwards."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from api_hooks.grouping import Grouper
from api_hooks.pace import Pace
from clients import broker
from core import log_events
from core.errors import BrokerUnavailableError
from core.faults import fault_point
from core.logging import get_logger
from core.settings import get_settings
from models import JourneyKind, StepName
from services import intake, journey_plan
from services.intake import Acceptance, IntakeStatus, Submission
from tasks.publish import publish_steps

log = get_logger(__name__)

# More in one statement no longer saves anything measurable, and makes the first of them wait for the last.
COMMIT_AT_ONCE = 200
PUBLISH_AT_ONCE = 500
# What a message takes a worker, roughly. Fifty journeys in one message cost a tenth of fifty messages.
MESSAGE_SECONDS = 0.004
SEND_HELD_UP_TIMES = 20.0
SEND_REST_SECONDS_MAX = 0.08
# A commit answers the callers whose registrations it holds, so the next is held back by little.
COMMIT_HELD_UP_TIMES = 5.0
COMMIT_REST_SECONDS_MAX = 0.02
# With the broker away, hints pile up here to no use: beyond this many they are left to the sweep.
PUBLISH_BACKLOG_MAX = 5000

_STEP_QUEUES = [step.queue.value for step in journey_plan.PLANS[JourneyKind.REGISTRATION]]


class Intake:
    """One a process, living on its event loop."""

    def __init__(self) -> None:
        self._committing = Pace(held_up_times=COMMIT_HELD_UP_TIMES, most_seconds=COMMIT_REST_SECONDS_MAX)
        self._sending = Pace(held_up_times=SEND_HELD_UP_TIMES, most_seconds=SEND_REST_SECONDS_MAX)
        self._commit_rest_seconds = 0.0
        self._send_rest_seconds = 0.0
        self._commits: Grouper[Submission, Acceptance] = Grouper(
            self._commit, most=COMMIT_AT_ONCE, rest_seconds=lambda: self._commit_rest_seconds
        )
        self._hints: Grouper[UUID, None] = Grouper(
            self._publish, most=PUBLISH_AT_ONCE, rest_seconds=lambda: self._send_rest_seconds
        )

    async def accept(self, submission: Submission) -> Acceptance:
        """Commit the registration and return what became of it; what happens next does not keep the caller waiting.

        Raises DatabaseUnavailableError.
        """
        acceptance = await self._commits.submit(submission)
        fault_point("before_publish_api")
        if acceptance.status is IntakeStatus.ACCEPTED:
            if len(self._hints) < PUBLISH_BACKLOG_MAX:
                self._hints.enqueue(acceptance.journey_id).add_done_callback(_report)
            else:
                log.warning(log_events.PUBLISH_FAILED, what="backlog", journey_id=str(acceptance.journey_id))
        return acceptance

    async def drain(self) -> None:
        """Wait until all that was accepted is committed and published; called at shutdown."""
        await self._commits.drain()
        await self._hints.drain()

    def _commit(self, submissions: Sequence[Submission]) -> list[Acceptance]:
        began_at = time.monotonic()
        self._commit_rest_seconds = 0.0
        acceptances = intake.accept(submissions)
        seconds = time.monotonic() - began_at
        self._commit_rest_seconds = self._committing.rest_seconds(seconds, items=len(submissions))
        return acceptances

    def _publish(self, journey_ids: Sequence[UUID]) -> list[None]:
        began_at = time.monotonic()
        self._send_rest_seconds = 0.0
        if publish_steps(StepName.CREATE_CONVERSATION, journey_ids):
            messages = -(-len(journey_ids) // journey_plan.MESSAGE_MAX_JOURNEYS)
            sending_seconds = (time.monotonic() - began_at) / messages
            # About as long as the next message would stand in the queue anyway.
            in_queue_seconds = _messages_waiting() * MESSAGE_SECONDS
            self._send_rest_seconds = self._sending.rest_seconds(sending_seconds, least=in_queue_seconds)
        return [None] * len(journey_ids)


def _messages_waiting() -> int:
    try:
        return sum(broker.queue_lengths(get_settings().require_broker_url(), _STEP_QUEUES).values())
    except BrokerUnavailableError:
        # The publishing itself has said so already.
        return 0


def _report(hint: "asyncio.Future[None]") -> None:
    error = hint.exception()
    if error is not None:
        # The journey is committed, so the sweep takes it from here; the line says that something new went wrong.
        log.error(log_events.PUBLISH_FAILED, what="intake", error=repr(error))
