"""The MCP server as an ASGI application of its own port, and the same doors under another application's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import AnmeiError
from mcp_server.doors import SSE_MESSAGES, SseDoor, StreamableHttpDoor
from mcp_server.server import McpServer
from services import confirmations, figures, mcp_status


def create_app(server: McpServer | None = None) -> Starlette:
    """Return the application: /mcp, /sse, /healthz, /readyz, /metrics. Everything starts and ends with its lifespan."""
    mcp = server or McpServer()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with mcp.run():
            confirmations.begin("mcp")
            yield
        await asyncio.to_thread(confirmations.end)

    async def ready(_: Request) -> Response:
        return await _ready(mcp)

    routes = [
        *door_routes(mcp),
        Route("/healthz", _healthy),
        Route("/readyz", ready),
        Route("/metrics", _metrics),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.mcp = mcp
    return app


def door_routes(mcp: McpServer, *, mounted: bool = False) -> list[BaseRoute]:
    """Return the routes of the MCP doors, each with and without a trailing slash.

    For another application (`mounted`): append them to its routes and enter `mcp.run()` in its lifespan; they answer 404
    until the setting mount_on_api is on, which takes effect at once.
    """
    http, sse = StreamableHttpDoor(mcp, mounted=mounted), SseDoor(mcp, mounted=mounted)
    stream, messages = _Raw(sse.stream), _Raw(sse.messages)
    return [
        Route("/mcp", http),
        Route("/mcp/", http),
        Route("/sse", stream),
        Route("/sse/", stream),
        Route(SSE_MESSAGES.rstrip("/"), messages),
        Route(SSE_MESSAGES, messages),
    ]


class _Raw:
    """Gives a bound method to a Route as raw ASGI; a function would be taken for a request handler."""

    def __init__(self, handle: ASGIApp) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._handle(scope, receive, send)


async def _healthy(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _ready(mcp: McpServer) -> Response:
    reasons = [] if mcp.catalogue is not None else ["configuration not loaded"]
    try:
        await asyncio.to_thread(mcp_status.check_database)
    except AnmeiError as error:
        reasons.append(error.message)
    return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


async def _metrics(request: Request) -> Response:
    page, content_type = await asyncio.to_thread(figures.negotiated, request.headers.get("accept", ""))
    return Response(page, media_type=content_type, headers={"vary": "accept"})
