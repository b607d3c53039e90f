"""Failed attempts: told apart, recorded, retried as the policy says, or ended in a dead letter with an alert."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from clients.agents import BOUNDED_RETRY_CODES, MAX_BOUNDED_RETRIES
from core import log_events
from core.database import unit_of_work
from core.errors import AnmeiError, TransientError
from core.logging import get_logger
from models import StepName
from queries import steps as step_queries
from queries.steps import Failed, Failure
from services import alerts, automation, journey_plan
from services.automation import RetryPolicy
from services.persist import together_or_alone
from services.steps.outcome import Outcome
from services.worker_name import worker_name

log = get_logger(__name__)

# An error text is for people; a driver's may quote a whole row.
ERROR_TEXT_MAX = 500


def next_retry_seconds(policy: RetryPolicy, failures: int, *, chance: float) -> float | None:
    """Return the seconds until the next attempt after `failures` earlier ones, or None when there is none left.

    `chance` in [0, 1) decides the jitter, which only ever adds.
    """
    if failures >= policy.max_retries:
        return None
    delay = policy.delays_seconds[min(failures, len(policy.delays_seconds) - 1)]
    return delay * (1 + policy.jitter * chance)


def is_retryable(error: Exception, failures: int = 0) -> bool:
    """Tell whether another attempt may succeed: only what is known to pass does (a full disk does).

    Some errors may be a passing fault or not: after a few earlier failures they are taken for one that stays.
    """
    if isinstance(error, AnmeiError) and error.code in BOUNDED_RETRY_CODES and failures >= MAX_BOUNDED_RETRIES:
        return False
    return isinstance(error, TransientError | OSError)


def code_and_text(error: Exception) -> tuple[str, str]:
    """Return the stable code and a text for people; of a refusing database only the first line, without the statement."""
    if isinstance(error, AnmeiError):
        return error.code, error.message[:ERROR_TEXT_MAX]
    if isinstance(error, DBAPIError):
        return "DATABASE_REFUSED", str(error.orig).splitlines()[0][:ERROR_TEXT_MAX]
    return type(error).__name__.upper(), str(error)[:ERROR_TEXT_MAX]


def record_failures(
    step: StepName, errors: Mapping[UUID, Exception], *, token: UUID | None = None, let_go: StepName | None = None
) -> Outcome:
    """Record one failed attempt for each journey; return which wait for a retry and which failed for good.

    Opens a dead letter for each of the latter. The step `let_go` no longer waits for this one; the outcome's `ready` are
    the journeys where it had to. Raises DatabaseUnavailableError: the sweep finds the steps again then.
    """
    policy = automation.current().retry
    with unit_of_work() as session:
        failures = step_queries.list_failures(session, step, list(errors))
        planned = [_failure(one, error, failures.get(one, 0), policy) for one, error in errors.items()]
        recorded = step_queries.fail_steps(session, step, planned, token=token, worker=worker_name())
        _alert_of_dead_letters(session, step, planned, recorded)
        ready = (
            step_queries.make_ready(session, let_go, list(errors), sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS)
            if let_go is not None
            else set()
        )
    outcome = _report(step, planned, recorded)
    outcome.ready = ready
    return outcome


def alone_if_together_fails(
    step: StepName, journey_ids: Sequence[UUID], work: Callable[[Sequence[UUID]], Outcome]
) -> Outcome:
    """Do the work for all journeys in one go; where that fails, for each alone, so that a fault stays with its journey.

    Raises DatabaseUnavailableError: nothing can be recorded then, and nothing needs to be.
    """
    outcome = Outcome()
    for journey_id, error in together_or_alone(journey_ids, lambda some: outcome.add(work(some))):
        outcome.add(record_failures(step, {journey_id: error}))
    return outcome


def _failure(journey_id: UUID, error: Exception, failures: int, policy: RetryPolicy) -> Failure:
    code, text = code_and_text(error)
    retry = next_retry_seconds(policy, failures, chance=random.random()) if is_retryable(error, failures) else None
    return Failure(journey_id, code, text, retry)


def _alert_of_dead_letters(
    session: Session, step: StepName, planned: Sequence[Failure], recorded: Sequence[Failed]
) -> None:
    """Raise one alert for each kind of failure, with the count and one example; part of the caller's transaction."""
    dead = {one.journey_id: one for one in recorded if one.dead_letter_id is not None}
    by_code = Counter(failure.code for failure in planned if failure.journey_id in dead)
    examples = {failure.code: failure for failure in planned if failure.journey_id in dead}
    for code, occurrences in by_code.items():
        example = examples[code]
        alerts.raise_alert(
            session,
            key=f"dead_letter:{step}:{code}",
            title=f"注册自动化最终失败 / registration automation failed: {step}",
            body=f"{code}: {example.text}\njourney {example.journey_id}, "
            f"dead letter {dead[example.journey_id].dead_letter_id}\n"
            "处理：在死信页面重放或丢弃 / replay or discard it under dead letters",
            occurrences=occurrences,
        )


def _report(step: StepName, planned: Sequence[Failure], recorded: Sequence[Failed]) -> Outcome:
    attempts = {one.journey_id: one for one in recorded}
    outcome = Outcome()
    for failure in planned:
        known = attempts.get(failure.journey_id)
        if known is None:
            continue
        fields = {
            "step": step,
            "journey_id": str(failure.journey_id),
            "attempt": known.attempts,
            "error_code": failure.code,
            "error": failure.text,
        }
        outcome.errors[failure.journey_id] = failure.code
        if failure.retry_in_seconds is None:
            outcome.failed.add(failure.journey_id)
            log.error(log_events.STEP_FAILED, dead_letter_id=str(known.dead_letter_id), **fields)
        else:
            outcome.waiting.add(failure.journey_id)
            log.warning(log_events.STEP_RETRY_SCHEDULED, retry_in_seconds=round(failure.retry_in_seconds, 1), **fields)
    return outcome
