"""Journeys over HTTP: listed, explained, replayed, cancelled."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict

from api_hooks.auth import Origin, require
from api_hooks.fields import (
    LIMIT_DEFAULT,
    Cursor,
    Input,
    Limit,
    Moment,
    RequiredText,
    Reveal,
    Text,
    cursor_of,
    read_cursor,
)
from api_hooks.responses import Envelope, Page
from models import JourneyStatus, StepName
from queries.journeys_read import JourneyFilter
from services import journeys, journeys_read, masking, reveal
from services.auth import Identity
from services.journeys_read import JourneyDetail
from services.permissions import Permission
from tasks.publish import publish_steps

router = APIRouter(prefix="/journeys", tags=["journeys"])

Watcher = Annotated[Identity, Depends(require(Permission.WATCH_JOURNEYS))]
Repairer = Annotated[Identity, Depends(require(Permission.REPAIR_JOURNEYS))]


class _FromRow(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class JourneyOut(_FromRow):
    """`step` is the first one that is not done; null when all are."""

    id: UUID
    user_id: UUID
    external_id: str | None
    username: str
    status: str
    reason: str | None
    step: str | None
    step_status: str | None
    attempts: int | None
    error_code: str | None
    accepted_at: datetime
    conversation_at: datetime | None
    greeted_at: datetime | None
    greeted_by: str | None
    notified_at: datetime | None
    finished_at: datetime | None


class StepOut(_FromRow):
    name: str
    status: str
    attempts: int
    failures: int
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    payload: dict[str, Any] | None
    result: dict[str, Any] | None
    error_code: str | None
    error_text: str | None


class AttemptOut(_FromRow):
    step: str
    attempt: int
    outcome: str
    worker: str | None
    started_at: datetime
    finished_at: datetime | None
    duration_ms: int | None
    error_code: str | None
    error_text: str | None


class AgentCallOut(_FromRow):
    id: UUID
    agent_id: UUID
    attempt: int
    status: str
    task_id: str | None
    usage: dict[str, Any] | None
    started_at: datetime
    finished_at: datetime | None
    duration_ms: int | None
    error_code: str | None
    error_text: str | None


class McpCallOut(_FromRow):
    id: UUID
    tool_name: str
    group_name: str
    outcome: str
    success: bool
    duration_ms: float
    created_at: datetime
    error_code: str | None


class WelcomeOut(_FromRow):
    id: UUID
    conversation_id: UUID
    source: str | None
    content: dict[str, Any]
    created_at: datetime


class NotificationOut(_FromRow):
    id: UUID
    consultant_id: UUID
    channel: str
    status: str
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    seen_at: datetime | None
    error_code: str | None
    error_text: str | None


class DeadLetterOfJourneyOut(_FromRow):
    id: UUID
    step: str
    status: str
    error_code: str
    error_text: str
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    reason: str | None


class ClaimOut(BaseModel):
    consultant_id: UUID
    consultant_name: str
    waited_ms: int
    claimed_at: datetime
    released_at: datetime | None


class MomentOut(BaseModel):
    at: datetime
    since_accepted_ms: float
    kind: str
    text: str


class JourneyDetailOut(BaseModel):
    id: UUID
    kind: str
    status: str
    reason: str | None
    user_id: UUID
    external_id: str | None
    username: str
    conversation_id: UUID | None
    settings_version: int
    accepted_at: datetime
    conversation_at: datetime | None
    greeted_at: datetime | None
    greeted_by: str | None
    notified_at: datetime | None
    finished_at: datetime | None
    steps: list[StepOut]
    attempts: list[AttemptOut]
    agent_calls: list[AgentCallOut]
    mcp_calls: list[McpCallOut]
    messages: list[WelcomeOut]
    notifications: list[NotificationOut]
    dead_letters: list[DeadLetterOfJourneyOut]
    claims: list[ClaimOut]
    timeline: list[MomentOut]


class Replay(Input):
    from_step: StepName | None = None


class Cancel(Input):
    reason: RequiredText = "cancelled by an operator"


class ReplayedOut(BaseModel):
    journey_id: UUID
    step: str


@router.get("", summary="List journeys, newest first")
def list_journeys(
    who: Watcher,
    origin: Origin,
    status: JourneyStatus | None = None,
    step: Annotated[StepName | None, Query(description="The step a journey is at: its first that is not done.")] = None,
    user_id: Annotated[Text | None, Query(description="The signup service's user_id, or ours.")] = None,
    accepted_from: Annotated[Moment | None, Query(alias="from")] = None,
    accepted_to: Annotated[Moment | None, Query(alias="to")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    revealed: Reveal = False,
) -> Envelope[Page[JourneyOut]]:
    """Answer journeys with where they are now, their customers masked."""
    wanted = JourneyFilter(status, step, user_id, accepted_from, accepted_to)
    found = journeys_read.listed(wanted, before=read_cursor(cursor), limit=limit + 1, shown=True)
    shown = reveal.shows(who, [f"journey:{row.id}" for row in found[:limit]], asked=revealed, origin=origin)
    found = found if shown else [masking.journey(row) for row in found]
    items = [JourneyOut.model_validate(row) for row in found[:limit]]
    next_cursor = cursor_of(items[-1].id) if len(found) > limit else None
    return Envelope(data=Page(items=items, next_cursor=next_cursor))


@router.get("/{journey_id}", summary="One journey, all of it")
def get_journey(journey_id: UUID, who: Watcher, origin: Origin, revealed: Reveal = False) -> Envelope[JourneyDetailOut]:
    """Answer steps, attempts, agent and MCP calls, messages and notifications, and all of them as one timeline.

    What names the customer, and what was written to them, is masked unless it is revealed.
    """
    if revealed:
        # A journey that is not there is no look at anybody.
        journeys_read.detail(journey_id)
    shown = reveal.shows(who, [f"journey:{journey_id}"], asked=revealed, origin=origin)
    return Envelope(data=_detail(journeys_read.detail(journey_id, shown=shown)))


@router.post("/{journey_id}/replay", summary="Have a step done again")
def replay(journey_id: UUID, who: Repairer, origin: Origin, body: Replay | None = None) -> Envelope[ReplayedOut]:
    """Replay the named step, else the one that failed or waits; what succeeded is never done twice."""
    from_step = (body or Replay()).from_step
    replayed = journeys.replay(journey_id, actor=who.actor, from_step=from_step, origin=origin)
    publish_steps(replayed.step, [replayed.journey_id])
    return Envelope(data=ReplayedOut(journey_id=replayed.journey_id, step=replayed.step), message="under way again")


@router.post("/{journey_id}/cancel", summary="End an open journey")
def cancel(journey_id: UUID, who: Repairer, origin: Origin, body: Cancel | None = None) -> Envelope[None]:
    """End it; what it has done stays."""
    journeys.cancel(journey_id, actor=who.actor, reason=(body or Cancel()).reason, origin=origin)
    return Envelope(data=None, message="cancelled")


def _detail(found: JourneyDetail) -> JourneyDetailOut:
    journey, record = found.record.journey, found.record
    return JourneyDetailOut(
        id=journey.id,
        kind=journey.kind,
        status=journey.status,
        reason=journey.reason,
        user_id=journey.user_id,
        external_id=found.user.external_id,
        username=found.user.username[:200],
        conversation_id=record.conversation.id if record.conversation else None,
        settings_version=journey.settings_version,
        accepted_at=journey.accepted_at,
        conversation_at=journey.conversation_at,
        greeted_at=journey.greeted_at,
        greeted_by=journey.greeted_by,
        notified_at=journey.notified_at,
        finished_at=journey.finished_at,
        steps=[StepOut.model_validate(one) for one in found.steps],
        attempts=[AttemptOut.model_validate(one) for one in record.attempts],
        agent_calls=[AgentCallOut.model_validate(one) for one in record.agent_calls],
        mcp_calls=[McpCallOut.model_validate(one) for one in record.mcp_calls],
        messages=[WelcomeOut.model_validate(one) for one in record.messages],
        notifications=[NotificationOut.model_validate(one) for one in record.notifications],
        dead_letters=[DeadLetterOfJourneyOut.model_validate(one) for one in record.dead_letters],
        claims=[
            ClaimOut(
                consultant_id=claim.consultant_id,
                consultant_name=name,
                waited_ms=claim.waited_ms,
                claimed_at=claim.claimed_at,
                released_at=claim.released_at,
            )
            for claim, name in found.claims
        ],
        timeline=[MomentOut(**one._asdict()) for one in found.timeline],
    )
