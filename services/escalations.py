"""The escalation ladder: what is done, rung by rung, about a customer nobody has taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from clients import fanout
from core import log_events
from core.clock import Clock, utc_now
from core.database import unit_of_work
from core.faults import fault_point
from core.logging import get_logger
from models import Channel, RungAction, RungStatus
from queries import conversations as conversation_queries
from queries import escalations as queries
from queries.escalations import DueRung
from queries.events import ALL_CONSULTANTS, NewEvent, append_events
from services import alerts, audit, automation, journey_plan, ladder, shifts
from services.automation import AutomationSettings
from services.push_texts import DEFAULT_LOCALE, RUNG_TITLES

log = get_logger(__name__)

ACTOR = "escalation"
# A rung whose message was lost is looked at again after this long.
SWEEP_AGAIN_SECONDS = 10.0


@dataclass(slots=True)
class _Done:
    """What one rung did: for its row, and the pushes to make. `recipients` None are all consultants' devices."""

    recipients: list[UUID] | None
    told: int
    pushes: list[UUID] = field(default_factory=list)
    assigned_id: UUID | None = None


def escalate(escalation_ids: Sequence[UUID], *, clock: Clock = utc_now) -> list[UUID]:
    """Do these rungs where they are due, each in a transaction of its own; return the pushes to make.

    Safe to run twice and at once with itself and with claims: a rung is done once, and not after a claim or a reply.
    """
    pushes: list[UUID] = []
    for escalation_id in escalation_ids:
        pushes += _climb(escalation_id, clock())
    return pushes


def stop(session: Session, conversation_id: UUID, *, reason: str) -> bool:
    """Stop the ladder in the caller's transaction, which holds the conversation's lock; return whether it was running."""
    was_running = queries.stop(session, conversation_id, reason=reason)
    if was_running:
        log.info(log_events.ESCALATION_STOPPED, conversation_id=str(conversation_id), reason=reason)
    return was_running


def start_again(session: Session, conversation_id: UUID, journey_id: UUID | None) -> None:
    """Begin the ladder anew for a customer who was given back, in the caller's transaction."""
    settings = automation.current()
    if journey_id is None or not (settings.escalation.enabled and settings.notification.enabled):
        return
    now = utc_now()
    first = settings.escalation.ladder[0]
    wait = ladder.seconds_until(first, since=now, now=now, settings=settings)
    queries.start_again(session, conversation_id, journey_id, action=first.action, in_seconds=wait)


def _climb(escalation_id: UUID, now: datetime) -> list[UUID]:
    settings = automation.current()
    on_shift = shifts.on_shift(now)
    with unit_of_work() as session:
        due = queries.lock_due(session, escalation_id)
        if due is None:
            return []
        reason = _reason_to_stop(due, settings)
        if reason is not None:
            queries.end(session, due.id, status=RungStatus.STOPPED, result={"reason": reason})
            return []
        closed_seconds = ladder.seconds_until_open(now, settings)
        if closed_seconds > 0:
            queries.put_off(session, due.id, seconds=closed_seconds)
            return []
        done = _ACTIONS[RungAction(due.action)](session, due, on_shift)
        _tell_sockets(session, due, done)
        _conclude(session, due, done, now, settings)
        fault_point("before_commit")
    fault_point("after_commit")
    fanout.announce()
    log.info(log_events.ESCALATED, journey_id=str(due.journey_id), action=due.action, rung=due.rung, told=done.told)
    return done.pushes


def _reason_to_stop(due: DueRung, settings: AutomationSettings) -> str | None:
    if due.replied:
        return "replied"
    if due.claimed_by_id is not None and due.claimed_by_id != due.assigned_id:
        return "claimed"
    return None if settings.escalation.enabled else "switched off"


def _remind(session: Session, due: DueRung, _: Sequence[UUID]) -> _Done:
    told = [due.claimed_by_id] if due.claimed_by_id else queries.list_told(session, due.journey_id)
    return _Done(told, len(told), _push(session, due, told))


def _widen(session: Session, due: DueRung, on_shift: Sequence[UUID]) -> _Done:
    settings = automation.current().notification
    payload = _payload(due) | {"title": settings.push_title, "body": settings.push_body}
    widened = queries.widen(
        session,
        due.journey_id,
        on_shift=on_shift,
        payload=payload,
        sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
    )
    return _Done(None, len(widened), [one.id for one in widened if one.channel == Channel.PUSH])


def _to_supervisors(session: Session, due: DueRung, _: Sequence[UUID]) -> _Done:
    supervisors = queries.list_supervisors(session)
    if not supervisors:
        _alert(session, due, "no supervisor can be reached")
    return _Done(supervisors, len(supervisors), _push(session, due, supervisors))


def _reassign(session: Session, due: DueRung, on_shift: Sequence[UUID]) -> _Done:
    candidate = queries.find_candidate(session, due, on_shift=on_shift)
    if candidate is None:
        _alert(session, due, "there is no consultant to give the customer to")
        return _Done([], 0)
    if due.claimed_by_id is not None:
        conversation_queries.release(session, due.conversation_id, due.claimed_by_id, reason="reassigned")
    conversation_queries.claim(session, due.conversation_id, candidate)
    # Given, not taken: the AI goes on answering until the consultant says something.
    conversation_queries.lock_conversation(session, due.conversation_id).ai_controlled = True
    return _Done([candidate], 1, _push(session, due, [candidate]), assigned_id=candidate)


_ACTIONS = {
    RungAction.REMIND: _remind,
    RungAction.WIDEN: _widen,
    RungAction.SUPERVISOR: _to_supervisors,
    RungAction.REASSIGN: _reassign,
}


def _push(session: Session, due: DueRung, consultant_ids: Sequence[UUID]) -> list[UUID]:
    return queries.add_pushes(
        session, due, consultant_ids, payload=_payload(due), sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS
    )


def _payload(due: DueRung) -> dict[str, Any]:
    return {
        "title": RUNG_TITLES[DEFAULT_LOCALE][due.action],
        "body": automation.current().notification.push_body,
        "customer_id": str(due.customer_id),
        "conversation_id": str(due.conversation_id),
        "escalation": due.action,
    }


def _tell_sockets(session: Session, due: DueRung, done: _Done) -> None:
    data = _payload(due) | {
        "action": due.action,
        "rung": due.rung,
        "waiting_since": due.waiting_since.isoformat().replace("+00:00", "Z"),
        "assigned_to": str(done.assigned_id) if done.assigned_id else None,
    }
    key = f"escalation:{due.id}"
    event = NewEvent(ALL_CONSULTANTS, "escalation", data, done.recipients, dedup_key=key, journey_id=due.journey_id)
    append_events(session, [event])


def _conclude(session: Session, due: DueRung, done: _Done, now: datetime, settings: AutomationSettings) -> None:
    """End the rung, write the next one, and note both in the audit log."""
    result: dict[str, Any] = {"told": done.told}
    if done.assigned_id is not None:
        result["assigned_to"] = str(done.assigned_id)
    queries.end(session, due.id, status=RungStatus.DONE, result=result)
    rest = settings.escalation.ladder[due.rung + 1 :]
    if rest:
        wait = ladder.seconds_until(rest[0], since=due.waiting_since, now=now, settings=settings)
        queries.add_next(session, due, action=rest[0].action, in_seconds=wait)
    elif done.assigned_id is None:
        _alert(session, due, "the ladder ended and nobody has taken the customer")
    audit.record(
        session,
        actor=ACTOR,
        action=f"escalation.{due.action}",
        subject=f"conversation:{due.conversation_id}",
        after=result | {"journey_id": str(due.journey_id), "round": due.round, "rung": due.rung},
    )


def _alert(session: Session, due: DueRung, what: str) -> None:
    alerts.raise_alert(
        session,
        key=f"escalation:{due.action}",
        title="a customer waits and nobody comes",
        body=f"{what}; journey {due.journey_id}, conversation {due.conversation_id}",
    )
