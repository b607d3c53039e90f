"""Traces through the broker: a span for each message sent and each task run, in the traces of the journeys it names."""

import threading
from typing import Any
from uuid import UUID

from celery import signals, states

from core import tracing
from core.tracing import AnySpan, Kind

# By task id: several tasks run side by side, and each begins and ends on the same thread.
_running: dict[str, AnySpan] = {}


class _Sending(threading.local):
    """The message this thread is sending; one that could not be sent is forgotten with the next."""

    span: AnySpan | None = None


_sending = _Sending()


def connect() -> None:
    """Hook into Celery's signals where traces are on; otherwise none of them costs anything."""
    if not tracing.enabled():
        return
    signals.before_task_publish.connect(_before_sending, weak=False)
    signals.after_task_publish.connect(_sent, weak=False)
    signals.task_prerun.connect(_begun, weak=False)
    signals.task_postrun.connect(_ended, weak=False)
    for leaving in (signals.worker_process_shutdown, signals.worker_shutdown):
        leaving.connect(lambda **_: tracing.flush(), weak=False)


def _before_sending(sender: str, body: Any, headers: dict[str, Any], routing_key: str | None = None, **_: Any) -> None:
    journeys = _journeys(body[1])
    _sending.span = None
    if journeys:
        _sending.span = tracing.span(
            f"send {sender}",
            journeys,
            kind=Kind.PRODUCER,
            own=tracing.own_of_message(headers["id"]),
            attributes=_about(headers["id"], routing_key, len(journeys)),
        )


def _sent(**_: Any) -> None:
    span, _sending.span = _sending.span, None
    if span is not None:
        span.end()


def _begun(sender: Any, task_id: str, kwargs: dict[str, Any], **_: Any) -> None:
    journeys = _journeys(kwargs)
    if journeys:
        queue = (sender.request.delivery_info or {}).get("routing_key")
        span = tracing.span(
            sender.name,
            journeys,
            kind=Kind.CONSUMER,
            parent=tracing.own_of_message(task_id),
            attributes=_about(task_id, queue, len(journeys)),
        )
        _running[task_id] = span.__enter__()
        # Welcomes are written on a thread of their own, for several tasks at once.
        tracing.adopt(journeys, span.own)


def _ended(task_id: str, kwargs: dict[str, Any], state: str | None = None, **_: Any) -> None:
    span = _running.pop(task_id, None)
    if span is not None:
        tracing.leave(_journeys(kwargs), span.own)
        if state == states.FAILURE:
            span.fail("the step failed for good")
        span.__exit__(None, None, None)


def _journeys(arguments: dict[str, Any]) -> list[UUID]:
    return [UUID(one) for one in arguments.get("journey_ids", ())]


def _about(message_id: str, queue: str | None, journeys: int) -> dict[str, Any]:
    return {
        "messaging.system": "celery",
        "messaging.message.id": message_id,
        "messaging.destination.name": queue or "",
        "messaging.batch.message_count": journeys,
    }
