"""`anmei user export` and `anmei user erase`: one person's data, handed out and erased."""

from typing import Annotated
from uuid import UUID

import typer

ACTOR = "cli"

PersonId = Annotated[str, typer.Argument(help="Our id, or the signup service's user_id.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the group of people."""
    app.command("export")(export)
    app.command("erase")(erase)


def export(person: PersonId) -> None:
    """Print everything there is of a person, as JSON. Audited."""
    import json

    from services import persons as rules

    found = rules.export(_id_of(person), actor=ACTOR)
    typer.echo(json.dumps({"user_id": str(found.user_id), "tables": found.tables}, ensure_ascii=False, indent=2))


def erase(
    person: PersonId,
    reason: Annotated[str, typer.Option(help="Kept in the audit log.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Erase who a customer is from everything, for good; the figures stay."""
    import json

    from services import persons as rules

    user_id = _id_of(person)
    if not yes:
        typer.confirm(f"Erase {person} from everything? Nothing brings it back.", abort=True)
    done = rules.erase(user_id, actor=ACTOR, reason=reason)
    shown = {"user_id": str(done.user_id), "rows": done.rows}
    typer.echo(json.dumps(shown) if as_json else f"{person} is erased: {sum(done.rows.values())} rows")


def _id_of(person: str) -> UUID:
    from core.database import unit_of_work
    from core.errors import NotFoundError
    from queries.subjects import find_by_user_id

    with unit_of_work() as session:
        found = find_by_user_id(session, person)
    if found is None:
        raise NotFoundError("no such user", code="USER_NOT_FOUND")
    return found.id
