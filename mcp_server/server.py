"""The MCP server of one process: the SDK's server with our handlers, kept current, over HTTP, SSE and stdio."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared._stream_protocols import WriteStream
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    CallToolRequestParams,
    CallToolResult,
    JSONRPCNotification,
    PaginatedRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)
from sse_starlette.sse import AppStatus

from core import log_events, memory
from core.errors import AnmeiError
from core.logging import get_logger
from core.settings import get_settings
from mcp_server.calls import Caller, ToolRunner, current_caller
from mcp_server.catalogue import Catalogue
from mcp_server.limits import RateLimiter
from mcp_server.recorder import CallRecorder
from mcp_server.streams import OpenStreams
from mcp_server.toolkit import Toolbox
from mcp_server.tools import TOOLBOX
from services import mcp_calls, mcp_registry, mcp_settings
from services.mcp_registry import Registry

NAME = "AnmeiSmart"
INSTRUCTIONS = "Customers, consultations and treatments of AnmeiSmart. Identify customers exactly as you were told."
# How often a process makes sure that it runs the newest configuration, should an announcement have been lost.
WATCH_SECONDS = 0.5
MAINTAIN_SECONDS = 6 * 3600.0
# Host and Origin are checked by our gate, whose lists change at run time; the SDK's lists are fixed when it starts.
CHECKED_BY_THE_GATE = TransportSecuritySettings(enable_dns_rebinding_protection=False)
MAX_BODY_BYTES = 4 * 1024 * 1024

log = get_logger(__name__)


class McpServer:
    """Everything one process needs to serve MCP. `run` must be entered before a request is served."""

    def __init__(self, toolbox: Toolbox = TOOLBOX) -> None:
        self._toolbox = toolbox
        self._registry: Registry | None = None
        self._catalogue: Catalogue | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._followed = False
        self.streams = OpenStreams()
        self.server = self._build()

    @property
    def catalogue(self) -> Catalogue | None:
        """What is offered right now; None until the database was reached for the first time."""
        return self._catalogue

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve until the context ends; then every call is in the log, or in a file where the database is away.

        May be entered again afterwards, as an application's lifespan is in tests.
        """
        self._loop = asyncio.get_running_loop()
        self._registry = self._catalogue = None
        self.recorder = CallRecorder()
        self._limiter = RateLimiter(get_settings().require_redis_url())
        self.runner = ToolRunner(self._require_catalogue, self._limiter, self.recorder)
        self.json_manager = self._manager(json_response=True)
        self.stream_manager = self._manager(json_response=False)
        self.recorder.start()
        if not self._followed:
            mcp_registry.on_change(self._heard)
            self._followed = True
        await self._refresh()
        # What lives from here on is short-lived: without the start-up's objects the collector's pauses are short.
        memory.settle()
        watch = asyncio.create_task(self._watch())
        try:
            async with self.json_manager.run(), self.stream_manager.run():
                yield
        finally:
            self._loop = None
            watch.cancel()
            self.streams.end_all()
            self.runner.close()
            await asyncio.to_thread(self.recorder.stop)
            await self._limiter.close()

    def initialization(self) -> InitializationOptions:
        """Return what a connection that stays open is told: there, changes of the list are announced."""
        return self.server.create_initialization_options(NotificationOptions(tools_changed=True))

    def _build(self) -> Server[Any]:
        server: Server[Any] = Server(
            NAME,
            version=version("anmei"),
            instructions=INSTRUCTIONS,
            # Lists differ by key and change at any time.
            cache_hints={"tools/list": CacheHint(ttl_ms=0, scope="private")},
            get_tool_input_schema=self._input_schema,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self._listen,
        )
        # Tracing of every message costs more than most tools; nobody exports it.
        server.middleware.clear()
        return server

    def _manager(self, *, json_response: bool) -> StreamableHTTPSessionManager:
        return StreamableHTTPSessionManager(
            self.server,
            json_response=json_response,
            stateless=True,
            security_settings=CHECKED_BY_THE_GATE,
            max_request_body_size=MAX_BODY_BYTES,
        )

    async def _list_tools(self, _: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> Any:
        # One page always: clients are known that read only the first. Finished for the wire when the catalogue was built.
        view = self._require_catalogue().groups.get(self._caller().group.id)
        return {"tools": view.listing if view is not None else [], "resultType": "complete"}

    async def _call_tool(self, ctx: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        return await self.runner.call(
            self._caller(), params.name, params.arguments, protocol_version=ctx.protocol_version
        )

    async def _listen(
        self, ctx: ServerRequestContext[Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        return await self.streams.listener(self._caller().group.id)(ctx, params)

    def _input_schema(self, name: str) -> dict[str, Any] | None:
        caller = current_caller.get()
        view = self._catalogue.groups.get(caller.group.id) if self._catalogue and caller else None
        offered = view.tools.get(name) if view is not None else None
        return offered.input_schema if offered is not None else None

    def _caller(self) -> Caller:
        """Return who is calling; raise MCPError where their key was taken back since the connection was opened."""
        caller = current_caller.get()
        if caller is None or not self._require_catalogue().is_open(caller.group.id, caller.group.key_hash):
            raise MCPError(INVALID_REQUEST, "The key is no longer valid")
        return caller

    def _require_catalogue(self) -> Catalogue:
        if self._catalogue is None:
            raise MCPError(INVALID_REQUEST, "The server is starting")
        return self._catalogue

    def _heard(self, registry: Registry) -> None:
        """Take over a changed configuration. Called on whatever thread loaded it; requests see it from here on."""
        loop, before = self._loop, self._catalogue
        if loop is None:
            return
        try:
            after = Catalogue(registry, self._toolbox)
        except Exception:
            # The edge of the thread that follows changes, for everybody: what cannot be built is recorded, the old stays.
            log.exception(log_events.SNAPSHOT_REFUSED, snapshot="mcp catalogue")
            return
        self._registry, self._catalogue = registry, after
        after.log_problems(before)
        if before is not None:
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: nobody is left to be told
                loop.call_soon_threadsafe(lambda: loop.create_task(self.streams.follow(before, after)))

    async def _refresh(self) -> None:
        try:
            registry = await asyncio.to_thread(mcp_registry.current)
            await asyncio.to_thread(mcp_settings.current)
        except AnmeiError as error:
            log.warning(log_events.MCP_CONFIGURATION_UNAVAILABLE, error=error.code)
            return
        if registry is not self._registry:
            await asyncio.to_thread(self._heard, registry)

    async def _watch(self) -> None:
        maintained_at = float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() - maintained_at > MAINTAIN_SECONDS:
                maintained_at = loop.time()
                await self._maintain()
            await asyncio.sleep(WATCH_SECONDS)
            await self._refresh()
            if self._catalogue is not None:
                self.streams.end_closed(self._catalogue)
            # The HTTP server was told to stop and waits for open requests; a listening client's would never end by itself.
            if AppStatus.should_exit:
                self.streams.end_all()

    async def _maintain(self) -> None:
        try:
            await asyncio.to_thread(mcp_calls.maintain)
        except AnmeiError as error:
            log.warning(log_events.MCP_MAINTENANCE_POSTPONED, error=error.code)


def sdk_user(caller: Caller) -> AuthenticatedUser:
    """Return the caller as the SDK binds sessions to it: the group and its present key, never the key itself."""
    identity = f"{caller.group.id}:{caller.group.key_hash.hex()[:16]}"
    return AuthenticatedUser(AccessToken(token="-", client_id=identity, scopes=[]))  # noqa: S106  # a stand-in, no secret


async def announce_list_changed(stream: WriteStream[SessionMessage]) -> None:
    """Tell the client at the other end of a lasting connection that its list of tools changed."""
    await stream.send(SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/tools/list_changed")))
