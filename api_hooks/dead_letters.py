"""Dead letters over HTTP: listed, replayed one by one or many, discarded."""

from collections import defaultdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api_hooks.auth import Origin, require
from api_hooks.fields import (
    LIMIT_DEFAULT,
    Cursor,
    Input,
    JsonObject,
    Limit,
    Moment,
    RequiredText,
    Reveal,
    Text,
    cursor_of,
    read_cursor,
)
from api_hooks.journeys import ReplayedOut
from api_hooks.responses import Envelope, Page
from models import DeadLetterStatus, StepName
from queries.dead_letters import DeadLetterFilter
from services import dead_letters, replays, reveal
from services.auth import Identity
from services.permissions import Permission
from tasks.publish import publish_steps

router = APIRouter(prefix="/dead-letters", tags=["dead letters"])

Watcher = Annotated[Identity, Depends(require(Permission.WATCH_JOURNEYS))]
Repairer = Annotated[Identity, Depends(require(Permission.REPAIR_JOURNEYS))]


class DeadLetterOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    journey_id: UUID
    step: str
    status: str
    error_code: str
    error_text: str
    attempts: int
    payload: dict[str, Any]
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    reason: str | None


class Replay(Input):
    payload: JsonObject | None = Field(default=None, description="Other inputs for the step; left out, its own.")


class ReplayFilter(Input):
    """What is left out does not restrict; {} means all that are open."""

    step: StepName | None = None
    error_code: Text | None = None
    journey_id: UUID | None = None
    opened_from: Moment | None = None
    opened_to: Moment | None = None


class ReplayMany(Input):
    filter: ReplayFilter
    per_second: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 20


class ReplayedManyOut(BaseModel):
    replay_id: int = Field(description="Where its progress is found: dead-letters/replays/{replay_id}.")
    count: int
    items: list[ReplayedOut]


class ReplayProgressOut(BaseModel):
    """How far a bulk replay is; `succeeded` and the like are of the steps as they are now, and add up to `total`."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    started_at: datetime
    started_by: str
    per_second: float
    filter: dict[str, str]
    total: int
    waiting: int = Field(description="Their turn has not come yet.")
    running: int
    succeeded: int
    failed: int = Field(description="Failed for good again.")
    cancelled: int
    is_done: bool


ReplayId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Discard(Input):
    reason: RequiredText


class DiscardedOut(BaseModel):
    journey_id: UUID


@router.get("", summary="List dead letters, newest first")
def list_dead_letters(
    who: Watcher,
    origin: Origin,
    status: DeadLetterStatus | None = None,
    step: StepName | None = None,
    error_code: Text | None = None,
    journey_id: UUID | None = None,
    opened_from: Annotated[Moment | None, Query(alias="from")] = None,
    opened_to: Annotated[Moment | None, Query(alias="to")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    revealed: Reveal = False,
) -> Envelope[Page[DeadLetterOut]]:
    """Answer steps that failed for good, with their inputs (what names a customer masked) and the last error."""
    wanted = DeadLetterFilter(status, step, error_code, journey_id, opened_from, opened_to)
    before = read_cursor(cursor)
    found = dead_letters.listed(wanted, before=before, limit=limit + 1)
    if reveal.shows(who, [f"dead_letter:{row.id}" for row in found[:limit]], asked=revealed, origin=origin):
        found = dead_letters.listed(wanted, before=before, limit=limit + 1, shown=True)
    items = [DeadLetterOut.model_validate(row) for row in found[:limit]]
    next_cursor = cursor_of(items[-1].id) if len(found) > limit else None
    return Envelope(data=Page(items=items, next_cursor=next_cursor))


@router.post("/replay", summary="Replay many")
def replay_many(body: ReplayMany, who: Repairer, origin: Origin) -> Envelope[ReplayedManyOut]:
    """Replay the open ones that match, oldest first, so many a second, at most 1000 at once."""
    wanted = DeadLetterFilter(status=DeadLetterStatus.OPEN, **body.filter.model_dump())
    replayed = dead_letters.replay_many(wanted, actor=who.actor, per_second=body.per_second, origin=origin)
    # Only the first second's are due; the sweep sends the others when they are.
    due: dict[StepName, list[UUID]] = defaultdict(list)
    for one in replayed.items[: max(1, int(body.per_second))]:
        due[one.step].append(one.journey_id)
    for step, journey_ids in due.items():
        publish_steps(step, journey_ids)
    items = [ReplayedOut(journey_id=one.journey_id, step=one.step) for one in replayed.items]
    data = ReplayedManyOut(replay_id=replayed.replay_id, count=len(items), items=items)
    return Envelope(data=data, message=f"{len(items)} under way again")


@router.get("/replays/{replay_id}", summary="How far a replay of many is")
def get_replay(replay_id: ReplayId, _: Watcher) -> Envelope[ReplayProgressOut]:
    """Answer how many of them wait for their turn, are under way, succeeded, failed again."""
    return Envelope(data=ReplayProgressOut.model_validate(replays.get(replay_id)))


@router.post("/{dead_letter_id}/replay", summary="Replay one, with other inputs if need be")
def replay(dead_letter_id: UUID, who: Repairer, origin: Origin, body: Replay | None = None) -> Envelope[ReplayedOut]:
    """Have the failed step done again, its retries counted anew."""
    payload = (body or Replay()).payload
    replayed = dead_letters.replay(dead_letter_id, actor=who.actor, payload=payload, origin=origin)
    publish_steps(replayed.step, [replayed.journey_id])
    return Envelope(data=ReplayedOut(journey_id=replayed.journey_id, step=replayed.step), message="under way again")


@router.post("/{dead_letter_id}/discard", summary="Close one for good")
def discard(dead_letter_id: UUID, body: Discard, who: Repairer, origin: Origin) -> Envelope[DiscardedOut]:
    """Close it and cancel its journey; the reason is kept."""
    journey_id = dead_letters.discard(dead_letter_id, actor=who.actor, reason=body.reason, origin=origin)
    return Envelope(data=DiscardedOut(journey_id=journey_id), message="discarded")
