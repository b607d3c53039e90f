"""Telling an agent's provider how a customer liked its welcome: noted with the rating, told afterwards, retried by row."""

import random
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from uuid import UUID

from sqlalchemy.orm import Session

from clients import agents as agent_client
from core.crypto import UndecryptableError
from core.database import unit_of_work
from core.errors import AgentTransientError, AnmeiError, PermanentError
from core.ids import new_id
from core.logging import get_logger
from models import FeedbackVerdict
from queries import agent_feedback as queries
from queries.agent_feedback import Telling, TellingEnd
from services import agents, automation, journey_plan
from services.persist import persist
from services.steps.failing import is_retryable, next_retry_seconds

log = get_logger(__name__)

# Of five: from here on it was liked, up to there it was not; what lies between says nothing.
LIKED_FROM = 4
DISLIKED_UP_TO = 2
# Above the longest time the calls of one message take.
LEASE_SECONDS = 60.0
TELL_SECONDS = 25.0
SWEEP_AGAIN_SECONDS = 30.0


def verdict_of(rating: int) -> FeedbackVerdict | None:
    """Return what a rating of 1 to 5 says to a provider that knows only thumbs."""
    if rating >= LIKED_FROM:
        return FeedbackVerdict.LIKE
    return FeedbackVerdict.DISLIKE if rating <= DISLIKED_UP_TO else None


def note(session: Session, message_id: UUID, *, rating: int, comment: str | None) -> bool:
    """Note, in the caller's transaction, that the provider is to be told; tell whether there is anything to tell."""
    return queries.note(
        session,
        message_id,
        verdict=verdict_of(rating),
        comment=comment,
        sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
    )


def tell(message_ids: Sequence[UUID]) -> int:
    """Tell the providers what is due of these; return how many heard it. Takes a lease on each; safe to run twice."""
    token = new_id()
    with unit_of_work() as session:
        tellings = queries.claim(session, message_ids, token=token, lease_seconds=LEASE_SECONDS)
    if not tellings:
        return 0
    begun = [(one, _begin(one)) for one in tellings]
    ends = [_end(one, call) for one, call in begun]
    persist(lambda: _record(ends, token))
    return sum(1 for end in ends if end.error_code is None)


def _record(ends: Sequence[TellingEnd], token: UUID) -> None:
    with unit_of_work() as session:
        queries.end(session, ends, token=token)


def _begin(telling: Telling) -> "Future[None] | AnmeiError":
    try:
        version = agents.find_known(telling.agent_id, telling.version_id)
    except UndecryptableError as error:
        return error
    if version is None:
        return PermanentError("the agent or its version is no longer in use", code="AGENT_GONE")
    return agent_client.feedback(
        version.target,
        message_id=telling.provider_message_id,
        user=telling.handle,
        rating=telling.verdict,
        content=telling.comment,
    )


def _end(telling: Telling, call: "Future[None] | AnmeiError") -> TellingEnd:
    error = call if isinstance(call, AnmeiError) else _error_of(call)
    if error is None:
        return TellingEnd(telling.message_id, telling.revision)
    policy = automation.current().retry
    retry = next_retry_seconds(policy, telling.attempts - 1, chance=random.random()) if is_retryable(error) else None
    log.warning(
        "agent_feedback_failed",
        message_id=str(telling.message_id),
        error_code=error.code,
        error=error.message,
        retry_in_seconds=retry,
    )
    return TellingEnd(telling.message_id, telling.revision, error.code, error.message[:500], retry)


def _error_of(call: "Future[None]") -> AnmeiError | None:
    try:
        call.result(TELL_SECONDS)
    except AnmeiError as error:
        return error
    except FutureTimeoutError:
        call.cancel()
        return AgentTransientError("the provider did not answer in time", code="AGENT_TIMEOUT")
    return None
