"""One journey's whole story in the order it happened, from the record alone."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from core.database import unit_of_work
from models import AttemptOutcome, CallStatus, JourneyStatus, RungStatus
from queries.progress import Record, get_record

SHOWN_CHARACTERS = 60


class EventKind(StrEnum):
    JOURNEY = "journey"
    ATTEMPT = "attempt"
    AGENT_CALL = "agent_call"
    MCP_CALL = "mcp_call"
    MESSAGE = "message"
    NOTIFICATION = "notification"
    DEAD_LETTER = "dead_letter"
    ESCALATION = "escalation"


class Event(NamedTuple):
    """Something that happened, in words; `since_accepted_ms` counts from the journey's acceptance."""

    at: datetime
    since_accepted_ms: float
    kind: EventKind
    text: str


def timeline(journey_id: UUID) -> list[Event]:
    """Return what happened to the journey, earliest first. Texts are shortened, people are roles."""
    with unit_of_work() as session:
        return told(get_record(session, journey_id))


def told(record: Record) -> list[Event]:
    """Return what a record tells, earliest first; of a masked one (services.masking) nothing names the customer."""
    accepted = record.journey.accepted_at
    moments = sorted(_moments(record), key=lambda moment: moment[0])
    return [Event(at, (at - accepted).total_seconds() * 1000, kind, text) for at, kind, text in moments]


def _moments(record: Record) -> Iterator[tuple[datetime, EventKind, str]]:
    journey = record.journey
    yield journey.accepted_at, EventKind.JOURNEY, "the registration was accepted and committed"
    if record.conversation is not None:
        tags = ", ".join(record.conversation.tags)
        text = f"the conversation “{record.conversation.title}” was opened" + (f" (tags: {tags})" if tags else "")
        yield record.conversation.created_at, EventKind.JOURNEY, text
    yield from _attempts(record)
    yield from _calls(record)
    for message in record.messages:
        text = str(message.content.get("text", ""))
        shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
        yield message.created_at, EventKind.MESSAGE, f"the {message.source}'s welcome was stored: “{shown}”"
    yield from _notifications(record)
    yield from _escalations(record)
    for letter in record.dead_letters:
        yield letter.opened_at, EventKind.DEAD_LETTER, f"{letter.step} failed for good ({letter.error_code})"
        if letter.closed_at is not None:
            yield letter.closed_at, EventKind.DEAD_LETTER, f"the dead letter was {letter.status} by {letter.closed_by}"
    if journey.finished_at is not None:
        reason = f": {journey.reason}" if journey.reason else ""
        ended = "ended well" if journey.status == JourneyStatus.SUCCEEDED else f"ended as {journey.status}"
        yield journey.finished_at, EventKind.JOURNEY, f"the journey {ended}{reason}"


def _attempts(record: Record) -> Iterator[tuple[datetime, EventKind, str]]:
    for attempt in record.attempts:
        name = f"{attempt.step}, attempt {attempt.attempt}"
        if attempt.finished_at is None:
            yield attempt.started_at, EventKind.ATTEMPT, f"{name} began"
        elif attempt.outcome == AttemptOutcome.SUCCEEDED:
            yield attempt.finished_at, EventKind.ATTEMPT, f"{name} succeeded{_took(attempt.duration_ms)}"
        else:
            why = f" ({attempt.error_code})" if attempt.error_code else ""
            yield attempt.finished_at, EventKind.ATTEMPT, f"{name}: {attempt.outcome}{why}{_took(attempt.duration_ms)}"


def _calls(record: Record) -> Iterator[tuple[datetime, EventKind, str]]:
    for call in record.agent_calls:
        yield call.started_at, EventKind.AGENT_CALL, "the agent was asked for a welcome"
        if call.finished_at is not None:
            said = "answered" if call.status == CallStatus.SUCCEEDED else f"failed ({call.error_code})"
            yield call.finished_at, EventKind.AGENT_CALL, f"the agent {said}{_took(call.duration_ms)}"
    for tool in record.mcp_calls:
        text = f"the agent called our tool {tool.tool_name}: {tool.outcome}{_took(tool.duration_ms)}"
        yield tool.created_at, EventKind.MCP_CALL, text


def _notifications(record: Record) -> Iterator[tuple[datetime, EventKind, str]]:
    for notification in record.notifications:
        by = f"a consultant by {notification.channel}"
        yield notification.created_at, EventKind.NOTIFICATION, f"telling {by} was decided"
        if notification.sent_at is not None:
            yield notification.sent_at, EventKind.NOTIFICATION, f"sent to {by}"
        if notification.delivered_at is not None:
            yield notification.delivered_at, EventKind.NOTIFICATION, f"received by {by}"


def _escalations(record: Record) -> Iterator[tuple[datetime, EventKind, str]]:
    for rung in record.escalations:
        if rung.ended_at is None:
            continue
        name = f"the ladder's rung {rung.rung + 1}, {rung.action}"
        if rung.status == RungStatus.STOPPED:
            yield rung.ended_at, EventKind.ESCALATION, f"{name}, was stopped: {rung.result.get('reason')}"
        else:
            given = ", and one was given the customer" if "assigned_to" in rung.result else ""
            late = f" (put off {rung.paused}× to working hours)" if rung.paused else ""
            yield rung.ended_at, EventKind.ESCALATION, f"{name}: {rung.result.get('told')} told{given}{late}"


def _took(duration_ms: float | None) -> str:
    return "" if duration_ms is None else f" in {duration_ms:.0f} ms"
