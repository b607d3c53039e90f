"""The third step: the consultants are told that a customer waits."""

from collections.abc import Callable, Sequence
from uuid import UUID

from clients import fanout
from core import log_events
from core.clock import utc_now
from core.database import journey_work
from core.faults import fault_point
from core.logging import get_logger
from models import StepName
from queries import effects, events
from queries.effects import Telling, Told
from services import automation, journey_plan, ladder, shifts
from services.automation import Assignment, AutomationSettings
from services.steps.failing import alone_if_together_fails
from services.steps.outcome import Outcome
from services.worker_name import worker_name

log = get_logger(__name__)

OnTold = Callable[[Sequence[Told]], None]


def notify_consultants(journey_ids: Sequence[UUID], *, on_told: OnTold) -> Outcome:
    """Write the notifications of the journeys whose step is due, in one transaction; `on_told` then sends them.

    Idempotent; locks the journeys. What could not be sent is found again by the sweep: the rows are the outbox.
    """
    return alone_if_together_fails(StepName.NOTIFY_CONSULTANTS, journey_ids, lambda ids: _notify(ids, on_told))


def _notify(journey_ids: Sequence[UUID], on_told: OnTold) -> Outcome:
    current = automation.current()
    settings = current.notification
    # Before the transaction: hours and holidays are not asked for while journeys are locked.
    telling = _telling(current)
    with journey_work() as connection:
        told = effects.notify_consultants(
            connection,
            journey_ids,
            step=StepName.NOTIFY_CONSULTANTS,
            enabled=settings.enabled,
            title=settings.title,
            message=settings.message,
            push_title=settings.push_title,
            push_body=settings.push_body,
            worker=worker_name(),
            sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
            telling=telling,
        )
        by_socket = sorted(one.journey_id for one in told if one.by_socket)
        events.append_new_customer_events(
            connection,
            by_socket,
            title=settings.title,
            message=settings.message,
            expected_response_minutes=settings.expected_response_minutes,
            only_told=telling.told_at_most is not None,
        )
        fault_point("before_commit")
    fault_point("after_commit")
    if by_socket:
        fanout.announce()
    for one in told:
        log.info(
            log_events.CONSULTANTS_NOTIFIED,
            journey_id=str(one.journey_id),
            count=one.count,
            by_push=bool(one.pushes),
        )
    on_told(told)
    return Outcome(done={one.journey_id for one in told})


def _telling(settings: AutomationSettings) -> Telling:
    now = utc_now()
    notification = settings.notification
    first = settings.escalation.ladder[0]
    climbs = settings.escalation.enabled and notification.enabled
    return Telling(
        channels=[str(channel) for channel in notification.channels],
        receipt_seconds=notification.receipt_seconds,
        on_shift=shifts.on_shift(now),
        told_at_most=notification.told_at_most if notification.assignment is Assignment.BEST_MATCH else None,
        escalate_in_seconds=ladder.seconds_until(first, since=now, now=now, settings=settings) if climbs else None,
        first_action=str(first.action) if climbs else None,
    )
