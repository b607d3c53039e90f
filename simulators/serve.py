"""Runs an ASGI application as a simulator process: binds, announces its address, and ends at once when told to."""

import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp


class AnnouncingServer(uvicorn.Server):
    """Prints one line with the real address once connections are served, so that port 0 is usable."""

    address: str = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if not self.should_exit:
            print(f"listening on {self.address}", flush=True)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def serve(app: ASGIApp, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; open streams are dropped, so the process ends in under a second with exit code 0."""
    # uvicorn raises the signal again once it has shut down; these handlers turn that into a clean exit.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    listener = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
    )
    bound_port = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=0,
        timeout_keep_alive=75,
        server_header=False,
    )
    server = AnnouncingServer(config)
    server.address = f"http://[{host}]:{bound_port}" if ":" in host else f"http://{host}:{bound_port}"
    server.run(sockets=[listener])
