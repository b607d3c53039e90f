"""Journeys: found, explained as one timeline, replayed, cancelled."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.responses import Response

from admin.forms import choice, identifier, moment, query_without, storable
from admin.story import Story
from admin.web import Visit, pages, redirect, signed_in
from core.errors import InvalidInputError
from models import JourneyStatus, StepName, StepStatus
from queries.journeys_read import JourneyFilter
from services import journeys, journeys_read, masking, reveal
from services.permissions import Permission
from tasks.publish import publish_steps

router = pages("/journeys")

Watcher = Annotated[Visit, Depends(signed_in(Permission.WATCH_JOURNEYS))]
Repairer = Annotated[Visit, Depends(signed_in(Permission.REPAIR_JOURNEYS))]
SHOWN = 50
REASON_MAX = 200


@router.get("")
def listed(visit: Watcher) -> Response:
    return visit.page("journeys.html", **_list(visit))


@router.get("/live")
def listed_live(visit: Watcher) -> Response:
    return visit.live("journeys_live.html", **_list(visit))


@router.get("/{journey_id}")
def show(journey_id: UUID, visit: Watcher) -> Response:
    return visit.page("journey.html", **_detail(visit, journey_id))


@router.post("/{journey_id}/reveal")
def show_revealed(journey_id: UUID, visit: Watcher) -> Response:
    """Show the customer unmasked, this once; who looked is audited. The page stands still: what is live is masked."""
    journeys_read.detail(journey_id)
    reveal.shows(visit.who, [f"journey:{journey_id}"], asked=True, origin=visit.origin)
    return visit.page("journey.html", **_detail(visit, journey_id, shown=True) | {"revealed": True})


@router.get("/{journey_id}/live")
def live(journey_id: UUID, visit: Watcher) -> Response:
    return visit.live("journey_live.html", **_detail(visit, journey_id))


@router.get("/{journey_id}/cancel")
def ask_cancel(journey_id: UUID, visit: Repairer) -> Response:
    return visit.page("journey_cancel.html", **_detail(visit, journey_id))


@router.post("/{journey_id}/replay")
def replay(journey_id: UUID, visit: Repairer) -> Response:
    from_step = choice(StepName, visit.form.line("from_step"))
    replayed = journeys.replay(journey_id, actor=visit.actor, from_step=from_step, origin=visit.origin)
    publish_steps(replayed.step, [replayed.journey_id])
    return redirect(f"/admin/journeys/{journey_id}", done="journey-replayed")


@router.post("/{journey_id}/cancel")
def cancel(journey_id: UUID, visit: Repairer) -> Response:
    reason = visit.form.line("reason")[:REASON_MAX]
    if not reason:
        raise InvalidInputError(visit.gettext("A reason is needed: who looks at this later must understand it."))
    journeys.cancel(journey_id, actor=visit.actor, reason=reason, origin=visit.origin)
    return redirect(f"/admin/journeys/{journey_id}", done="journey-cancelled")


def _list(visit: Visit) -> dict[str, Any]:
    query = visit.query
    wanted = JourneyFilter(
        choice(JourneyStatus, query.get("status")),
        choice(StepName, query.get("step")),
        storable(query.get("user_id")),
        moment(query.get("from")),
        moment(query.get("to")),
    )
    before, shown = identifier(query.get("before")), masking.sees_customers(visit.who)
    found = journeys_read.listed(wanted, before=before, limit=SHOWN + 1, shown=shown)
    rows = found[:SHOWN]
    return {
        "rows": rows,
        "query": query,
        "kept": query_without(query, "before", "done"),
        "next_before": rows[-1].id if len(found) > SHOWN else None,
        "statuses": list(JourneyStatus),
        "steps": list(StepName),
    }


def _detail(visit: Visit, journey_id: UUID, *, shown: bool = False) -> dict[str, Any]:
    shown = shown or masking.sees_customers(visit.who)
    found = journeys_read.detail(journey_id, shown=shown)
    story = Story(found, visit.language)
    journey = found.record.journey
    return {
        "detail": found,
        "journey": journey,
        "record": found.record,
        "moments": story.moments(),
        "lanes": story.lanes(),
        "is_open": journey.finished_at is None,
        "replayable": [one for one in found.steps if one.status in (StepStatus.FAILED, StepStatus.WAITING)],
        "may_repair": visit.may(Permission.REPAIR_JOURNEYS),
        "may_reveal": not shown and visit.may(Permission.REVEAL_PERSONAL_DATA),
        "revealed": False,
    }
