"""The roles, each one process: `anmei api`, `mcp`, `worker`, `beat`, `flower`; and `anmei migrate`."""

from enum import StrEnum
from typing import Annotated

import typer

from mcp_server import cli as mcp_cli


class Transport(StrEnum):
    STREAMABLE_HTTP = "streamable-http"
    SSE = "sse"
    STDIO = "stdio"


class Pool(StrEnum):
    PREFORK = "prefork"
    THREADS = "threads"
    SOLO = "solo"


def api(
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Serve webhook, REST API, WebSockets and metrics on ANMEI_BIND:ANMEI_API_PORT."""
    from worker.roles import serve_api

    serve_api(workers=workers)


def mcp(
    context: typer.Context,
    transport: Annotated[Transport, typer.Option(help="stdio serves one client, on this process's own pipes.")] = (
        Transport.STREAMABLE_HTTP
    ),
) -> None:
    """Serve MCP, on ANMEI_BIND:ANMEI_MCP_PORT or on stdio; or one of the commands below."""
    from worker.roles import serve_mcp

    if context.invoked_subcommand is None:
        serve_mcp(transport.value)


def worker(
    queues: Annotated[str, typer.Option(help="Comma-separated.")] = "journeys,agents,notifications,maintenance",
    pool: Annotated[Pool, typer.Option(help="prefork for short database work, threads for waiting on agents.")] = (
        Pool.THREADS
    ),
    concurrency: Annotated[int, typer.Option(min=1, max=2000)] = 32,
    announce: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Work on Celery queues."""
    from worker.roles import run_worker

    run_worker(queues=queues, pool=pool.value, concurrency=concurrency, announce=announce)


def beat() -> None:
    """Sweep and keep the schedule (any number may run, one leads); serve the worker side's metrics."""
    from worker.roles import run_beat

    run_beat()


def flower() -> None:
    """Serve Flower on ANMEI_FLOWER_PORT; user `admin`, the password is the administrator's first one, or see --help."""
    from worker.flower import serve_flower

    serve_flower()


def migrate() -> None:
    """Bring the database's schema up to date. Safe from several machines at once."""
    import migrations

    migrations.upgrade()
    typer.echo("the schema is up to date")


COMMANDS = (api, worker, beat, flower, migrate)
NAMES = frozenset(command.__name__ for command in (*COMMANDS, mcp))


def add_to(app: typer.Typer) -> None:
    for command in COMMANDS:
        app.command()(command)
    mcp_cli.app.callback(invoke_without_command=True)(mcp)
    app.add_typer(mcp_cli.app, name="mcp")
