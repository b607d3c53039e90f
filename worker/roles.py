"""What each role's process runs. All take everything from the settings, so that a container needs only the environment."""

import logging
import os
import sys
import warnings
from importlib import import_module

from core import log_events
from core.logging import configure_logging, get_logger
from core.settings import get_settings
from worker.launcher.roles import READY_LINE

# A request in flight at a stop gets this long; WebSockets are told to come back.
GRACEFUL_SECONDS = 5
BACKLOG = 2048

log = get_logger(__name__)


def serve_api(*, workers: int = 1) -> None:
    """Serve the API until told to stop."""
    settings = get_settings()
    configure_logging("api")
    _serve("api_hooks.app:create_app", settings.bind, settings.api_port, workers=workers)


def serve_mcp(transport: str) -> None:
    """Serve MCP by the transport until told to stop; both HTTP transports are served by one application."""
    settings = get_settings()
    configure_logging("mcp")
    if transport == "stdio":
        import_module("mcp_server.stdio").serve_stdio()
        return
    _serve("mcp_server.app:create_app", settings.bind, settings.mcp_port)


def run_worker(*, queues: str, pool: str, concurrency: int, announce: bool) -> None:
    """Work on the queues until told to stop. With `announce`, print READY_LINE once the broker is consumed from."""
    from celery import signals
    from celery.exceptions import SecurityWarning

    from worker.app import app

    # Celery warns root of pickled messages; ours are JSON and nothing else is accepted.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # Connected for good: signals hold weak references by default.
    signals.setup_logging.connect(lambda **_: configure_logging("worker"), weak=False)
    if announce:
        signals.worker_ready.connect(_announce, weak=False)
    # The pid, because several may serve the same queues on one machine.
    name = f"{queues.replace(',', '-')}-{os.getpid()}"
    app.worker_main(
        [
            *("--quiet", "worker", "--queues", queues, "--pool", pool, "--concurrency", str(concurrency)),
            *("--hostname", f"{name}@%h", "--loglevel", get_settings().log_level.upper()),
            *("--without-mingle", "--without-gossip"),
        ]
    )


def _announce(**_: object) -> None:
    sys.stdout.write(READY_LINE + "\n")
    sys.stdout.flush()


def run_beat() -> None:
    """Run the sweeper beside the worker side's metrics endpoint, until told to stop."""
    from worker import metrics_server

    settings = get_settings()
    configure_logging("beat")
    metrics_server.serve(settings.metrics_port, settings.bind)
    # By name, like the Celery application names its tasks: they build on this package, not it on them.
    import_module("tasks.beat").main()


def _serve(factory: str, host: str, port: int, *, workers: int = 1) -> None:
    import uvicorn

    # Its "started", "waiting" and "running" say what the line below says; what goes wrong is at error level.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    log.info(log_events.PROCESS_STARTED, address=f"{host}:{port}", workers=workers)
    uvicorn.run(
        factory,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        # Ours is configured already.
        log_config=None,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        server_header=False,
        # One frame goes to many sockets: compressing it for each of them anew costs more than it saves.
        ws_per_message_deflate=False,
    )
    sys.exit(0)
