"""The console script `anmei`. Commands import what they need when they run, so that `anmei --help` answers at once."""

import sys

import typer

from core import memory
from worker.cli import diagnosis, journeys, persons, registering, roles, secrets, stack, users

app = typer.Typer(
    name="anmei",
    help="AnmeiSmart's registration automation: signed webhook in, welcome and notified consultants out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
stack.add_to(app)
roles.add_to(app)
diagnosis.add_to(app)
registering.add_to(app)
journeys.add_to(app)
app.add_typer(users.app, name="user")
persons.add_to(users.app)
app.add_typer(secrets.app, name="secrets")


@app.callback()
def prepare(context: typer.Context) -> None:
    """Keep logs out of what a command prints: below warnings they are for the roles, which set up their own."""
    if context.invoked_subcommand in roles.NAMES:
        return
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Run the command line; errors meant for people are one message and exit code 1, never a trace."""
    memory.begin()
    try:
        app()
    except Exception as error:
        text = _for_people(error)
        if text is None:
            raise
        typer.echo(f"error: {text}", err=True)
        sys.exit(1)


def _for_people(error: Exception) -> str | None:
    """Return the message of an error that says what to do, None for one that is a fault of the program."""
    from pydantic import ValidationError

    from core.errors import AnmeiError
    from core.settings import MissingSettingError
    from worker.launcher.errors import LaunchError

    if isinstance(error, AnmeiError | MissingSettingError | LaunchError):
        return str(error)
    if isinstance(error, ValidationError) and error.title == "Settings":
        problems = (f"ANMEI_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors())
        return "the settings are not usable: " + "; ".join(problems)
    return None
