"""`anmei up` and `anmei demo`: whole stacks."""

from typing import Annotated

import typer


def up() -> None:
    """Start the whole product, on embedded servers where none are configured, and keep it up until Ctrl-C."""
    import asyncio

    from worker.launcher.console import PrefixedConsole
    from worker.launcher.stack import bootstrap, explained
    from worker.launcher.up import run_up

    settings = bootstrap()
    with explained():
        console = PrefixedConsole(json_logs=settings.log_format == "json", keep_in=settings.data_dir)
    asyncio.run(run_up(settings, console))


def demo(
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=100_000, help="How many registrations.")] = 20,
) -> None:
    """Start a stack of its own, send it real registrations, show what becomes of them, and leave nothing behind."""
    import asyncio

    from worker.launcher.demo import run_demo

    if not asyncio.run(run_demo(number)):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    for command in (up, demo):
        app.command()(command)
