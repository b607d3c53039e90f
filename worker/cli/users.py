"""`anmei user`: people who sign in."""

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="People who sign in.")


class Role(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    CONSULTANT = "consultant"


@app.callback()
def users() -> None:
    """People who sign in."""


@app.command("create")
def create(
    username: str,
    role: Annotated[Role, typer.Option()] = Role.OPERATOR,
    password: Annotated[str | None, typer.Option(help="Made and shown if not given.")] = None,
    reset: Annotated[bool, typer.Option(help="Give an existing user a new password.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Create someone who can sign in, or give them a new password."""
    import json

    from pydantic import SecretStr

    from services import staff

    chosen = SecretStr(password) if password else None
    made = staff.create_login(username, role.value, password=chosen, reset=reset, actor="cli")
    shown = None if password else made.get_secret_value()
    if as_json:
        typer.echo(json.dumps({"username": username, "role": role.value, "password": shown}, ensure_ascii=False))
        return
    typer.echo(f"{username} can sign in as {role.value}" + (f" with the password {shown}" if shown else ""))
