"""`anmei user`: people who sign in; what is done with anybody's data is added by worker.cli.persons."""

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="People: those who sign in, and anybody's data.")
ACTOR = "cli"


class StaffRole(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    CONSULTANT = "consultant"


Password = Annotated[str | None, typer.Option(help="Made and shown if not given.")]
AsJson = Annotated[bool, typer.Option("--json")]


@app.callback()
def users() -> None:
    """People: those who sign in, and anybody's data."""


@app.command("create")
def create(
    username: str,
    role: Annotated[StaffRole, typer.Option()] = StaffRole.OPERATOR,
    password: Password = None,
    as_json: AsJson = False,
) -> None:
    """Create someone who can sign in."""
    from pydantic import SecretStr

    from core.passwords import new_password
    from services.permissions import Role
    from services.users import create_staff_user

    chosen = SecretStr(password) if password else new_password()
    create_staff_user(username, chosen, [Role(role.value)], actor=ACTOR)
    _show(username, None if password else chosen.get_secret_value(), as_json, f"{username} can sign in as {role.value}")


@app.command("password")
def reset_password(username: str, password: Password = None, as_json: AsJson = False) -> None:
    """Give someone a new password; it ends their sessions."""
    from pydantic import SecretStr

    from core.database import unit_of_work
    from core.errors import NotFoundError
    from core.passwords import new_password
    from queries.auth import find_login
    from services.users import StaffChange, change_staff_user

    with unit_of_work() as session:
        user = find_login(session, username)
    if user is None:
        raise NotFoundError(f"nobody signs in as {username}")
    chosen = SecretStr(password) if password else new_password()
    change_staff_user(user.id, StaffChange(password=chosen), actor=ACTOR)
    _show(username, None if password else chosen.get_secret_value(), as_json, f"{username} has a new password")


def _show(username: str, made: str | None, as_json: bool, text: str) -> None:
    import json

    if as_json:
        typer.echo(json.dumps({"username": username, "password": made}, ensure_ascii=False))
    else:
        typer.echo(text + (f": {made}" if made else ""))
