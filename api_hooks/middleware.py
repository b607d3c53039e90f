"""What surrounds every request, as plain ASGI: its id, the bound on its body, and the last catch of a failure."""

import re

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_hooks.responses import problem
from core import log_events
from core.ids import new_id
from core.logging import get_logger

log = get_logger(__name__)

HEADER = b"x-request-id"
# A caller's id is taken over only where it can do no harm in a log line.
ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# No request of the API carries more than a few kB; settings with all their templates are the longest.
BODY_MAX_BYTES = 1024 * 1024
HOOK_BODY_MAX_BYTES = 64 * 1024
# The MCP doors keep a bound of their own, which an administrator sets; this is the highest it goes.
MCP_BODY_MAX_BYTES = 4 * 1024 * 1024
MCP_PATHS = ("/mcp", "/sse")


class RequestMiddleware:
    """Gives each request an id (in the logs and the answer) and answers 500 for what nobody expected, the reason logged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = _header(scope, HEADER)
        request_id = given if ACCEPTABLE_ID.fullmatch(given) else str(new_id())
        scope["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if scope["type"] == "websocket":
                await self.app(scope, receive, send)
            else:
                await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception(log_events.REQUEST_FAILED, method=scope["method"], path=scope["path"])
            if started:
                # The answer is half sent: only cutting it off tells the caller that it is not whole.
                raise
            failure = problem(Request(scope), 500, "INTERNAL_ERROR", f"something went wrong; quote {request_id}")
            await failure(scope, receive, send_with_id)


class BodyLimitMiddleware:
    """Refuses bodies over the bound with 413, announced or counted as they come in (chunked)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = _bound(scope["path"])
        announced = _header(scope, b"content-length")
        if announced.isdigit() and int(announced) > most:
            refusal = problem(Request(scope), 413, "PAYLOAD_TOO_LARGE", _too_large(most))
            await refusal(scope, receive, send)
            return
        size = 0

        async def receive_bounded() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > most:
                    # The framework lets this kind pass while it reads a body, and turns any other into a 400.
                    raise HTTPException(413, _too_large(most))
            return message

        await self.app(scope, receive_bounded, send)


def _header(scope: Scope, name: bytes) -> str:
    """Return a header's first value, "" without one. Looked for in place: every request asks twice."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _bound(path: str) -> int:
    if path.startswith("/hooks/"):
        return HOOK_BODY_MAX_BYTES
    return MCP_BODY_MAX_BYTES if path.startswith(MCP_PATHS) else BODY_MAX_BYTES


def _too_large(most: int) -> str:
    return f"the body is larger than {most} bytes"
