"""The API's application: everything it serves, put together, with what lives as long as the process."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import APIRouter, FastAPI
from starlette.types import Receive, Scope, Send

from admin.inbox import router as inbox_pages
from admin.routes import router as admin_pages
from api_hooks import (
    agents,
    alerts,
    audit_log,
    auth,
    consultants,
    conversations,
    dashboard,
    dead_letters,
    health,
    journeys,
    mcp_admin,
    push_channels,
    settings,
    sockets,
    users,
    webhook,
    webhook_secrets,
)
from api_hooks.hub import Hub
from api_hooks.middleware import BodyLimitMiddleware, RequestMiddleware
from api_hooks.responses import PROBLEM_RESPONSES, describe_problems, install_error_handlers
from core import database
from core.logging import configure_logging
from mcp_server.app import door_routes
from mcp_server.server import McpServer
from services import confirmations

# Endpoints run in threads, the webhook's commits beside them; more would only wait for each other in PostgreSQL.
POOL_CONNECTIONS = 16
# The loop answers while threads commit and publish: it waits for a thread that computes no longer than this, not Python's 5 ms.
SWITCH_SECONDS = 0.0005

V1 = "/api/v1"

PARTS = (
    auth,
    users,
    journeys,
    dead_letters,
    conversations,
    consultants,
    push_channels,
    agents,
    mcp_admin,
    dashboard,
    settings,
    audit_log,
    webhook_secrets,
    alerts,
)


class Api(FastAPI):
    """The application. The webhook's requests go straight to their endpoint, past what the framework does for all others:
    that is a third of what the API spends on a registration (docs/decisions/0016).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if webhook.is_registration(scope):
            scope["app"] = self
            await _registrations(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


# What the middlewares of create_app do for every request, in the same order, around the endpoint alone.
_registrations = webhook.CountRefusalsMiddleware(RequestMiddleware(BodyLimitMiddleware(webhook.serve_registration)))


def create_app() -> FastAPI:
    """Return the application; what it connects to is looked up when it starts."""
    if not structlog.is_configured():
        # One of several processes that share a port: they begin here.
        configure_logging("api")
    app = Api(
        title="AnmeiSmart registration automation",
        version="1",
        description="Success is `{success, data, message}`; errors are RFC 9457 problems with a stable `code`.",
        lifespan=_lifespan,
        responses=PROBLEM_RESPONSES,
    )
    install_error_handlers(app)
    describe_problems(app)
    # The last added is the outermost.
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(RequestMiddleware)
    app.add_middleware(webhook.CountRefusalsMiddleware)
    app.include_router(webhook.router)
    app.include_router(health.router)
    app.include_router(sockets.router)
    app.include_router(_v1())
    app.include_router(admin_pages)
    app.include_router(inbox_pages)
    app.state.mcp = McpServer()
    # Answer 404 until the setting mount_on_api is on.
    app.router.routes.extend(door_routes(app.state.mcp, mounted=True))
    return app


def _v1() -> APIRouter:
    v1 = APIRouter(prefix=V1)
    for part in PARTS:
        v1.include_router(part.router)
    return v1


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    database.set_pool_size(POOL_CONNECTIONS)
    sys.setswitchinterval(SWITCH_SECONDS)
    app.state.webhook = webhook.WebhookState()
    app.state.hub = Hub()
    app.state.hub.start()
    confirmations.begin("api")
    try:
        async with app.state.mcp.run():
            yield
    finally:
        await app.state.hub.stop()
        await app.state.webhook.close()
        await asyncio.to_thread(confirmations.end)
