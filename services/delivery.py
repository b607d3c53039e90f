"""Delivering pushes: each notification under a lease, its channels in order, retried as the policy says."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from clients import push
from core.crypto import decrypt
from core.database import unit_of_work
from core.errors import AnmeiError, PermanentError
from core.ids import new_id
from core.logging import get_logger
from queries import notifications as notification_queries
from queries.notifications import Delivery, DeliveryEnd
from services import automation
from services.persist import persist
from services.steps.failing import is_retryable, next_retry_seconds

log = get_logger(__name__)

# Above the time all channels of one consultant may take.
LEASE_SECONDS = 30.0
# Pushes wait on other people's servers; a few side by side keep one slow server from holding up the rest.
SIDE_BY_SIDE = 8


def deliver(notification_ids: Sequence[UUID]) -> int:
    """Make the pushes among these that are due; return how many were sent. Takes a lease on each; safe to run twice."""
    token = new_id()
    with unit_of_work() as session:
        deliveries = notification_queries.claim_deliveries(
            session, notification_ids, token=token, lease_seconds=LEASE_SECONDS
        )
    if not deliveries:
        return 0
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(deliveries)), thread_name_prefix="push") as pool:
        ends = list(pool.map(_deliver, deliveries))
    persist(lambda: _record(ends, token))
    return sum(1 for end in ends if end.error_code is None)


def _record(ends: Sequence[DeliveryEnd], token: UUID) -> None:
    with unit_of_work() as session:
        notification_queries.end_deliveries(session, ends, token=token)


def _deliver(delivery: Delivery) -> DeliveryEnd:
    """Try the consultant's channels in order until one takes it."""
    error: AnmeiError = PermanentError("the consultant has no push channel", code="NO_CHANNEL")
    for channel_id, kind, url_encrypted in delivery.channels:
        try:
            push.send(kind, decrypt(url_encrypted), delivery.payload, idempotency_key=str(delivery.id))
        except AnmeiError as refused:
            error = refused
            continue
        return DeliveryEnd(delivery.id, channel_id=channel_id)
    policy = automation.current().retry
    retry = next_retry_seconds(policy, delivery.attempts - 1, chance=random.random()) if is_retryable(error) else None
    log.warning(
        "push_failed",
        notification_id=str(delivery.id),
        error_code=error.code,
        error=error.message,
        retry_in_seconds=retry,
    )
    return DeliveryEnd(delivery.id, error_code=error.code, error_text=error.message[:500], retry_in_seconds=retry)
