"""Delivering pushes: each notification under a lease, its channels in order, retried as the policy says."""

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from clients import push
from clients.push import PushGoneError, PushTransientError, VapidKey
from core import log_events
from core.crypto import decrypt
from core.database import unit_of_work
from core.errors import AnmeiError, NotFoundError, PermanentError
from core.ids import new_id
from core.logging import get_logger
from models import Channel, PushKind
from queries import notifications as notification_queries
from queries.notifications import Delivery, DeliveryEnd, Tried
from services import automation, journey_plan, push_keys, push_settings
from services.persist import persist
from services.push_texts import shown_payload
from services.steps.failing import is_retryable, next_retry_seconds

log = get_logger(__name__)

# A push whose sender died is made by another after this long.
LEASE_SECONDS = 30.0
# No channel is tried later than this into the lease: the slowest answer still comes before another may send.
TRY_SECONDS = 20.0
# Pushes wait on other people's servers; a few side by side keep one slow server from holding up the rest.
SIDE_BY_SIDE = 8
# So often a push may be begun though the policy allows fewer attempts: one may have ended with its sender, not with an answer.
BEGUN_LEAST = 3


def deliver(notification_ids: Sequence[UUID]) -> int:
    """Make the pushes among these that are due; return how many were sent. Takes a lease on each; safe to run twice."""
    token = new_id()
    with unit_of_work() as session:
        deliveries = notification_queries.claim_deliveries(
            session, notification_ids, token=token, lease_seconds=LEASE_SECONDS, slow=push.TIMED_OUT
        )
    if not deliveries:
        return 0
    # Asked for once, and only where a browser is among the receivers.
    browsers = any(one.kind == PushKind.WEBPUSH for delivery in deliveries for one in delivery.channels)
    vapid = push_keys.vapid_key() if browsers else None
    until = time.monotonic() + TRY_SECONDS
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(deliveries)), thread_name_prefix="push") as pool:
        ends = list(pool.map(lambda delivery: _deliver(delivery, vapid, until), deliveries))
    persist(lambda: _record(ends, token))
    return sum(1 for end in ends if end.error_code is None)


def pass_on_silent(*, most: int) -> list[UUID]:
    """Give the next channel its turn where a socket confirmed nothing in time; return the pushes to make."""
    settings = automation.current().notification
    with unit_of_work() as session:
        passed_on = notification_queries.pass_on_silent(
            session,
            most=most,
            with_push=settings.enabled and Channel.PUSH in settings.channels,
            push_title=settings.push_title,
            push_body=settings.push_body,
            sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
        )
    if passed_on:
        log.warning(log_events.RECEIPTS_MISSING, count=len(passed_on))
    return passed_on


def confirm(notification_id: UUID, consultant_id: UUID, *, seen: bool) -> None:
    """Note that a consultant's device received, or showed, a push. Idempotent; raise NotFoundError."""
    with unit_of_work() as session:
        if not notification_queries.record_receipt(session, notification_id, consultant_id, seen=seen):
            raise NotFoundError("no such notification was sent to you", code="NOTIFICATION_NOT_FOUND")


def _record(ends: Sequence[DeliveryEnd], token: UUID) -> None:
    with unit_of_work() as session:
        notification_queries.end_deliveries(session, ends, token=token)


def _deliver(delivery: Delivery, vapid: VapidKey | None, until: float) -> DeliveryEnd:
    """Try the consultant's channels in order until one takes it."""
    settings = automation.current()
    if delivery.attempts > max(settings.retry.max_retries + 1, BEGUN_LEAST):
        return _given_up(delivery)
    payload = shown_payload(delivery, settings.notification)
    allowed = push_settings.allowed_networks()
    tried: list[Tried] = []
    error: AnmeiError = PermanentError("the consultant has no push channel", code="NO_CHANNEL")
    retryable = False
    for address in delivery.channels:
        if time.monotonic() >= until:
            error, retryable = PushTransientError("slow receivers took all the time", code="PUSH_OUT_OF_TIME"), True
            break
        if address.resting:
            error, retryable = PushTransientError("the receiver was too slow a moment ago", code="PUSH_RESTING"), True
            continue
        try:
            url = decrypt(address.url_encrypted)
            push.send(address.kind, url, payload, idempotency_key=str(delivery.id), vapid=vapid, allowed=allowed)
        except AnmeiError as refused:
            error, retryable = refused, retryable or is_retryable(refused)
            tried.append(Tried(address.channel_id, refused.message[:500], gone=isinstance(refused, PushGoneError)))
            continue
        tried.append(Tried(address.channel_id))
        return DeliveryEnd(delivery.outbox, delivery.id, tuple(tried))
    # One channel that may come back is worth another attempt, whatever the others said.
    retry = next_retry_seconds(settings.retry, delivery.attempts - 1, chance=random.random()) if retryable else None
    log.warning(
        log_events.PUSH_FAILED,
        notification_id=str(delivery.id),
        error_code=error.code,
        error=error.message,
        retry_in_seconds=retry,
    )
    return DeliveryEnd(delivery.outbox, delivery.id, tuple(tried), error.code, error.message[:500], retry)


def _given_up(delivery: Delivery) -> DeliveryEnd:
    """End a push whose senders died over it, one after the other: it is not begun once more."""
    text = f"given up: {delivery.attempts - 1} attempts were begun, and the last one never came to an end"
    log.warning(
        log_events.PUSH_FAILED,
        notification_id=str(delivery.id),
        error_code="PUSH_ATTEMPTS_EXHAUSTED",
        error=text,
        retry_in_seconds=None,
    )
    return DeliveryEnd(delivery.outbox, delivery.id, (), "PUSH_ATTEMPTS_EXHAUSTED", text)
