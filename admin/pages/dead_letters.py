"""Dead letters: inspected, replayed with or without other inputs, one or many, discarded with a reason."""

import json
from collections import defaultdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path
from fastapi.responses import Response

from admin.forms import choice, identifier, moment, query_without, storable
from admin.web import Visit, pages, redirect, signed_in, status_of
from core.errors import AnmeiError, InvalidInputError
from models import DeadLetterStatus, StepName
from queries.dead_letters import DeadLetterFilter
from services import dead_letters, masking, replays, reveal
from services.permissions import Permission
from services.step_payload import PAYLOADS
from tasks.publish import publish_steps

router = pages("/dead-letters")

Watcher = Annotated[Visit, Depends(signed_in(Permission.WATCH_JOURNEYS))]
Repairer = Annotated[Visit, Depends(signed_in(Permission.REPAIR_JOURNEYS))]
ReplayId = Annotated[int, Path(ge=1, le=2**63 - 1)]
SHOWN = 50
PER_SECOND = 20


@router.get("")
def listed(visit: Watcher) -> Response:
    query = visit.query
    wanted = _filter(query, default=DeadLetterStatus.OPEN)
    shown = masking.sees_customers(visit.who)
    found = dead_letters.listed(wanted, before=identifier(query.get("before")), limit=SHOWN + 1, shown=shown)
    rows = found[:SHOWN]
    return visit.page(
        "dead_letters.html",
        rows=rows,
        query=query,
        kept=query_without(query, "before", "done"),
        next_before=rows[-1].id if len(found) > SHOWN else None,
        statuses=list(DeadLetterStatus),
        steps=list(StepName),
        wanted=wanted,
        replays=replays.recent(),
    )


@router.get("/replays/live")
def replays_live(visit: Watcher) -> Response:
    return visit.live("dead_letters_replays_live.html", replays=replays.recent())


@router.get("/replays/{replay_id}")
def show_replay(replay_id: ReplayId, visit: Watcher) -> Response:
    """Show how far a replay of many is, until it is done."""
    return visit.page("dead_letters_progress.html", replay=replays.get(replay_id))


@router.get("/replays/{replay_id}/live")
def replay_live(replay_id: ReplayId, visit: Watcher) -> Response:
    return visit.live("dead_letters_progress_live.html", replay=replays.get(replay_id))


@router.get("/replays/{replay_id}/said/live")
def replay_said_live(replay_id: ReplayId, visit: Watcher) -> Response:
    """Answer what a screen reader says of it: a sentence that changes seldom."""
    return visit.live("dead_letters_progress_said.html", replay=replays.get(replay_id))


@router.get("/replay")
def ask_replay_many(visit: Repairer) -> Response:
    """Show how many open ones the filter means, before anything happens."""
    wanted = _filter(visit.query, default=None)
    count = dead_letters.count_open(wanted)
    kept = query_without(visit.query, "before", "done", "status")
    return visit.page(
        "dead_letters_replay.html", count=count, kept=kept, most=dead_letters.REPLAY_AT_ONCE, per_second=PER_SECOND
    )


@router.post("/replay")
def replay_many(visit: Repairer) -> Response:
    form = visit.form
    wanted = _filter({name: form.line(name) for name in ("step", "error_code", "from", "to")}, default=None)
    try:
        per_second = float(form.line("per_second") or PER_SECOND)
    except ValueError:
        raise InvalidInputError(visit.gettext("How many a second must be a number.")) from None
    if not 0 < per_second <= 1000:
        raise InvalidInputError(visit.gettext("How many a second must be a number."))
    replayed = dead_letters.replay_many(wanted, actor=visit.actor, per_second=per_second, origin=visit.origin)
    due: dict[StepName, list[UUID]] = defaultdict(list)
    # Only the first second's are due; the sweep sends the others when they are.
    for one in replayed.items[: max(1, int(per_second))]:
        due[one.step].append(one.journey_id)
    for step, journey_ids in due.items():
        publish_steps(step, journey_ids)
    return redirect(f"/admin/dead-letters/replays/{replayed.replay_id}", done="letters-replayed")


@router.get("/{letter_id}")
def show(letter_id: UUID, visit: Watcher) -> Response:
    return _page(visit, letter_id)


@router.post("/{letter_id}/reveal")
def show_revealed(letter_id: UUID, visit: Watcher) -> Response:
    """Show the inputs and the error unmasked, this once; who looked is audited."""
    dead_letters.get(letter_id)
    reveal.shows(visit.who, [f"dead_letter:{letter_id}"], asked=True, origin=visit.origin)
    return _page(visit, letter_id, shown=True)


@router.post("/{letter_id}/replay")
def replay(letter_id: UUID, visit: Repairer) -> Response:
    """Replay with the inputs of the form; an empty field leaves the step its own."""
    text = visit.form.text("payload").strip()
    try:
        payload = _payload(visit, text)
        replayed = dead_letters.replay(letter_id, actor=visit.actor, payload=payload, origin=visit.origin)
    except InvalidInputError as error:
        return _page(visit, letter_id, status=422, problem=visit.explain(error), payload=text)
    publish_steps(replayed.step, [replayed.journey_id])
    return redirect(f"/admin/journeys/{replayed.journey_id}", done="letter-replayed")


@router.post("/{letter_id}/discard")
def discard(letter_id: UUID, visit: Repairer) -> Response:
    """Ask first, then close it for good."""
    reason = visit.form.line("reason")
    if not visit.form.flag("confirmed"):
        return visit.page("dead_letter_discard.html", letter=dead_letters.get(letter_id), reason=reason)
    try:
        journey_id = dead_letters.discard(letter_id, actor=visit.actor, reason=reason, origin=visit.origin)
    except AnmeiError as error:
        if status_of(error) != 422:
            raise
        return _page(visit, letter_id, status=422, problem=visit.explain(error))
    return redirect(f"/admin/journeys/{journey_id}", done="letter-discarded")


def _page(
    visit: Visit,
    letter_id: UUID,
    *,
    status: int = 200,
    problem: str | None = None,
    payload: str | None = None,
    shown: bool = False,
) -> Response:
    revealed, shown = shown, shown or masking.sees_customers(visit.who)
    letter = dead_letters.get(letter_id, shown=shown)
    # Masked inputs are not put into the form: sent back as they are, a customer would be greeted by them.
    filled = json.dumps(letter.payload, ensure_ascii=False, indent=2) if shown else ""
    return visit.page(
        "dead_letter.html",
        status=status,
        letter=letter,
        problem=problem,
        payload=payload if payload is not None else filled,
        fields=list(PAYLOADS[StepName(letter.step)].model_fields),
        masked=bool(letter.payload) and not shown,
        may_reveal=not shown and visit.may(Permission.REVEAL_PERSONAL_DATA),
        revealed=revealed,
    )


def _payload(visit: Visit, text: str) -> dict[str, Any] | None:
    if not text or text == "{}":
        return None
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise InvalidInputError(visit.gettext("The inputs must be a JSON object."))
    return payload


def _filter(values: dict[str, str], *, default: DeadLetterStatus | None) -> DeadLetterFilter:
    given = values.get("status")
    return DeadLetterFilter(
        choice(DeadLetterStatus, given) if given is not None else default,
        choice(StepName, values.get("step")),
        storable(values.get("error_code")),
        identifier(values.get("journey_id")),
        moment(values.get("from")),
        moment(values.get("to")),
    )
