"""The worker side's metrics page: a small server of its own thread, and the rolling up of totals when nobody scrapes."""

import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from sqlalchemy.exc import SQLAlchemyError

from core import log_events
from core.errors import AnmeiError
from core.logging import get_logger
from services import figures

# A scraper that goes away in the middle must not hold its thread for ever.
REQUEST_TIMEOUT_SECONDS = 10
_TEXT = "text/plain; charset=utf-8"

log = get_logger(__name__)


class MetricsServer:
    """A running server; `port` is the one it got, `close` ends it."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self._closed = threading.Event()
        self.port: int = server.server_port
        self._threads = [
            threading.Thread(target=server.serve_forever, name="metrics-server", daemon=True),
            threading.Thread(target=self._keep_rolling, name="figures-roller", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop serving and rolling up; return when both threads have ended."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(figures.ROLL_BUDGET_SECONDS + 1)

    def _keep_rolling(self) -> None:
        while not self._closed.wait(figures.ROLL_SECONDS):
            try:
                figures.roll(max_seconds=figures.ROLL_BUDGET_SECONDS)
            except (AnmeiError, SQLAlchemyError) as error:
                # The next round does what this one could not.
                log.warning(log_events.FIGURES_ROLL_FAILED, error=type(error).__name__)


def serve(port: int, bind: str) -> MetricsServer:
    """Serve /metrics and /healthz from threads of this process; port 0 takes a free one. Raise OSError when it is taken."""
    server = make_server(bind, port, _application, server_class=_Server, handler_class=_Handler)
    log.info(log_events.METRICS_SERVED, port=server.server_port)
    return MetricsServer(server)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_SECONDS

    def address_string(self) -> str:
        # No name lookup a request.
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line every scrape is no news."""


def _application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, content_type, body = _answer(
        environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_ACCEPT", "")
    )
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Vary", "Accept")]
    start_response(f"{status.value} {status.phrase}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _answer(method: str, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
    if method not in ("GET", "HEAD"):
        return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET\n"
    if path == "/metrics":
        page, content_type = figures.negotiated(accept)
        return HTTPStatus.OK, content_type, page
    if path == "/healthz":
        return HTTPStatus.OK, _TEXT, b"ok\n"
    return HTTPStatus.NOT_FOUND, _TEXT, b"there are /metrics and /healthz\n"
