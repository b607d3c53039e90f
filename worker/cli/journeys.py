"""`anmei journeys` and `anmei dead-letters`: look at journeys, replay them, discard what is beyond help."""

import getpass
import json
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

Choice = TypeVar("Choice", bound=StrEnum)
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]

journeys = typer.Typer(no_args_is_help=True, help="Journeys of registered customers.")
dead_letters = typer.Typer(no_args_is_help=True, help="Journeys that failed for good.")


@journeys.command("list")
def list_journeys(
    status: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest journeys."""
    from core.database import unit_of_work
    from models import JourneyStatus
    from queries import journeys as queries

    with unit_of_work() as session:
        found = queries.list_newest(session, status=_chosen(JourneyStatus, status), limit=limit)
    shown = [
        {
            "id": str(one.id),
            "status": one.status,
            "accepted_at": one.accepted_at.isoformat(),
            "greeted_by": one.greeted_by,
            "finished_at": one.finished_at.isoformat() if one.finished_at else None,
            "reason": one.reason,
        }
        for one in found
    ]
    _show(shown, as_json)


@journeys.command("show")
def show_journey(journey_id: UUID, as_json: AsJson = False) -> None:
    """Tell one journey's whole story."""
    from services.timeline import timeline

    events = timeline(journey_id)
    if as_json:
        listed = [
            {"at": one.at.isoformat(), "since_accepted_ms": one.since_accepted_ms, "text": one.text} for one in events
        ]
        typer.echo(json.dumps(listed, ensure_ascii=False, indent=2))
        return
    for one in events:
        typer.echo(f"{one.since_accepted_ms:>10,.0f} ms  {one.text}")


@journeys.command("replay")
def replay_journey(
    journey_id: UUID,
    from_step: Annotated[str | None, typer.Option(help="The failed or waiting step, if not given.")] = None,
) -> None:
    """Do the failed (or waiting) step of a journey again."""
    from models import StepName
    from services import journeys as service

    replayed = service.replay(journey_id, actor=_actor(), from_step=_chosen(StepName, from_step))
    typer.echo(f"replaying {replayed.step} of journey {replayed.journey_id}")


@dead_letters.command("list")
def list_dead_letters(
    status: Annotated[str, typer.Option()] = "open",
    step: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    as_json: AsJson = False,
) -> None:
    """Show dead letters, the newest first."""
    from models import DeadLetterStatus, StepName
    from queries.dead_letters import DeadLetterFilter
    from services import dead_letters as service

    wanted = DeadLetterFilter(status=_chosen(DeadLetterStatus, status), step=_chosen(StepName, step))
    found = service.listed(wanted, limit=limit)
    shown = [
        {
            "id": str(one.id),
            "journey_id": str(one.journey_id),
            "step": one.step,
            "status": one.status,
            "error_code": one.error_code,
            "error_text": one.error_text,
            "attempts": one.attempts,
            "opened_at": one.opened_at.isoformat(),
        }
        for one in found
    ]
    _show(shown, as_json)


@dead_letters.command("replay")
def replay_dead_letters(
    dead_letter_id: Annotated[UUID | None, typer.Argument(help="One of them; none together with --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every open one that matches the filters.")] = False,
    step: Annotated[str | None, typer.Option()] = None,
    error_code: Annotated[str | None, typer.Option()] = None,
    per_second: Annotated[float, typer.Option(help="How many become due each second.")] = 20.0,
    payload: Annotated[str | None, typer.Option(help="Other inputs for the step, as JSON.")] = None,
) -> None:
    """Do failed steps again, one or many."""
    from models import StepName
    from queries.dead_letters import DeadLetterFilter
    from services import dead_letters as service

    if every == (dead_letter_id is not None):
        raise typer.BadParameter("name one dead letter, or say --all")
    if dead_letter_id is not None:
        replayed = service.replay(dead_letter_id, actor=_actor(), payload=json.loads(payload) if payload else None)
        typer.echo(f"replaying {replayed.step} of journey {replayed.journey_id}")
        return
    wanted = DeadLetterFilter(step=_chosen(StepName, step), error_code=error_code)
    taken = service.replay_many(wanted, actor=_actor(), per_second=per_second).items
    typer.echo(f"replaying {len(taken)} dead letters, {per_second:g} a second")


@dead_letters.command("discard")
def discard_dead_letter(
    dead_letter_id: UUID, reason: Annotated[str, typer.Option(help="Why nothing is done.")]
) -> None:
    """Close a dead letter for good and cancel its journey."""
    from services import dead_letters as service

    typer.echo(f"journey {service.discard(dead_letter_id, actor=_actor(), reason=reason)} is cancelled")


def _chosen(known: type[Choice], value: str | None) -> Choice | None:
    # By name, not as an enum in the signature: the models would have to be loaded for `anmei --help`.
    if value is None:
        return None
    try:
        return known(value)
    except ValueError:
        raise typer.BadParameter(f"{value} is none of {', '.join(known)}") from None


def _actor() -> str:
    return f"cli:{getpass.getuser()}"


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        typer.echo("  ".join(str(value) for value in row.values() if value is not None))
    if not rows:
        typer.echo("none")


def add_to(app: typer.Typer) -> None:
    app.add_typer(journeys, name="journeys")
    app.add_typer(dead_letters, name="dead-letters")
