"""The HTTP doors: Streamable HTTP and HTTP+SSE, as plain ASGI applications behind the gate."""

import contextlib
import time
from functools import partial
from typing import Any

from mcp.server.sse import SseServerTransport
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import Message, Receive, Scope, Send

from core import log_events
from core.logging import get_logger
from mcp_server import gate
from mcp_server.calls import Caller, current_caller
from mcp_server.catalogue import Catalogue
from mcp_server.gate import Refusal, refuse
from mcp_server.server import CHECKED_BY_THE_GATE, MAX_BODY_BYTES, McpServer, announce_list_changed, sdk_user
from services import mcp_settings
from services.mcp_settings import McpSettings

SSE_MESSAGES = "/sse/messages/"

log = get_logger(__name__)


class _Refusals:
    """Says in the log who was not let in and why; at most once a second, so that a stranger cannot fill the disk."""

    def __init__(self) -> None:
        self._said_at = float("-inf")
        self._unsaid = 0

    def note(self, refusal: Refusal, transport: str) -> None:
        self._unsaid += 1
        now = time.monotonic()
        if now - self._said_at >= 1:
            log.warning(log_events.MCP_KEY_REFUSED, code=refusal.code, transport=transport, refused=self._unsaid)
            self._said_at, self._unsaid = now, 0


_refusals = _Refusals()


class _Door:
    """What every door does first."""

    def __init__(self, mcp: McpServer, *, mounted: bool = False) -> None:
        self._mcp = mcp
        # Under the API's port the doors exist only while the setting says so.
        self._mounted = mounted

    def _enter(self, scope: Scope, transport: str) -> tuple[Caller, McpSettings] | Refusal:
        catalogue: Catalogue | None = self._mcp.catalogue
        if catalogue is None:
            return gate.SERVER_OFF
        settings = mcp_settings.current()
        if self._mounted and not settings.mount_on_api:
            return gate.NOT_MOUNTED
        refusal = gate.check_origin(scope["headers"], settings)
        if refusal is not None:
            _refusals.note(refusal, transport)
            return refusal
        if not settings.enabled:
            return gate.SERVER_OFF
        caller = gate.authenticate(scope["headers"], catalogue, transport)
        if isinstance(caller, Refusal):
            _refusals.note(caller, transport)
            return caller
        return caller, settings


class StreamableHttpDoor(_Door):
    """`/mcp`: every message is a POST of its own, so any process may answer it. No sessions, no standing GET stream."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entered = self._enter(scope, "streamable-http")
        if isinstance(entered, Refusal):
            return await refuse(entered, scope, receive, send)
        caller, settings = entered
        # A GET would stay open for ever: there is no session whose messages it could carry.
        if scope["method"] != "POST":
            return await refuse(gate.ONLY_POST, scope, receive, send)
        headers = gate.cleaned_headers(scope["headers"])
        if _names_session(headers):
            return await refuse(gate.NO_SESSION, scope, receive, send)
        body = await gate.read_body(receive, headers, settings.max_body_bytes)
        if body is None:
            return await refuse(gate.TOO_LARGE, scope, receive, send)
        parsed = gate.parse(body, settings.max_json_depth)
        if isinstance(parsed, Refusal):
            return await refuse(parsed, scope, receive, send)
        current_caller.set(caller)
        inner = {**scope, "headers": headers, "user": sdk_user(caller)}
        return await self._serve(parsed, caller, inner, gate.replaying(body, receive), send)

    async def _serve(self, parsed: Any, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        # Progress can only be told, and a hang-up only be noticed, on a stream; everything else is cheaper as JSON.
        progress, listening = _wants_progress(parsed), _is_listen(parsed)
        manager = self._mcp.stream_manager if progress else self._mcp.json_manager
        if not progress and not listening:
            return await manager.handle_request(scope, receive, send)
        ending = _EndingSend(send)
        with self._mcp.streams.hold(caller):
            await manager.handle_request(scope, receive, ending)
        return await ending.end()


class SseDoor(_Door):
    """`/sse` and its messages (protocol 2024-11-05). The stream lives in one process, and its messages must come there."""

    def __init__(self, mcp: McpServer, *, mounted: bool = False) -> None:
        super().__init__(mcp, mounted=mounted)
        self._transport = SseServerTransport(SSE_MESSAGES, CHECKED_BY_THE_GATE, MAX_BODY_BYTES)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection for as long as it lasts."""
        entered = self._enter_sse(scope)
        if isinstance(entered, Refusal):
            return await refuse(entered, scope, receive, send)
        caller, _ = entered
        if scope["method"] != "GET":
            return await refuse(gate.ONLY_GET, scope, receive, send)
        current_caller.set(caller)
        ending = _EndingSend(send)
        inner = {**scope, "headers": gate.cleaned_headers(scope["headers"]), "user": sdk_user(caller)}
        mcp = self._mcp
        with mcp.streams.hold(caller):
            async with self._transport.connect_sse(inner, receive, ending) as (reading, writing):
                with mcp.streams.telling(caller.group.id, partial(announce_list_changed, writing)):
                    await mcp.server.run(reading, writing, mcp.initialization())
        return await ending.end()

    async def messages(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one message of a connection that this process holds."""
        entered = self._enter_sse(scope)
        if isinstance(entered, Refusal):
            return await refuse(entered, scope, receive, send)
        caller, settings = entered
        headers = gate.cleaned_headers(scope["headers"])
        if scope["method"] != "POST":
            return await refuse(gate.ONLY_POST, scope, receive, send)
        body = await gate.read_body(receive, headers, settings.max_body_bytes)
        if body is None:
            return await refuse(gate.TOO_LARGE, scope, receive, send)
        parsed = gate.parse(body, settings.max_json_depth)
        if isinstance(parsed, Refusal):
            return await refuse(parsed, scope, receive, send)
        current_caller.set(caller)
        inner = {**scope, "headers": headers, "user": sdk_user(caller)}
        return await self._transport.handle_post_message(inner, gate.replaying(body, receive), send)

    def _enter_sse(self, scope: Scope) -> tuple[Caller, McpSettings] | Refusal:
        entered = self._enter(scope, "sse")
        if not isinstance(entered, Refusal) and not entered[1].sse_enabled:
            return gate.NOT_MOUNTED
        return entered


class _EndingSend:
    """Passes messages on, and can complete a response that was cut off: the client then sees a clean end."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = self._ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            if self._ended:
                return
            self._ended = True
        await self._send(message)

    async def end(self) -> None:
        if self._started and not self._ended:
            self._ended = True
            with contextlib.suppress(OSError):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _names_session(headers: list[tuple[bytes, bytes]]) -> bool:
    names = dict(headers)
    version = names.get(b"mcp-protocol-version", b"").decode("latin-1")
    return b"mcp-session-id" in names and (not version or version in HANDSHAKE_PROTOCOL_VERSIONS)


def _is_listen(parsed: Any) -> bool:
    return isinstance(parsed, dict) and parsed.get("method") == "subscriptions/listen"


def _wants_progress(parsed: Any) -> bool:
    params = parsed.get("params") if isinstance(parsed, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and "progressToken" in meta
