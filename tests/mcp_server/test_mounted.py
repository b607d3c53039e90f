"""The same doors under another application's port, switched on and off by a setting."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.testclient import TestClient

from mcp_server.app import door_routes
from mcp_server.server import McpServer
from services import mcp_settings
from tests.mcp_server.support import ACCEPT, key_of
from tests.support.waiting import wait_until

BODY = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def test_the_doors_open_under_the_apis_port_when_the_setting_says_so(database: str) -> None:
    mcp = McpServer()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mcp.run():
            yield

    app = FastAPI(lifespan=lifespan)
    app.router.routes.extend(door_routes(mcp, mounted=True))
    headers = ACCEPT | {"authorization": f"Bearer {key_of('customer_tools')}"}
    for _ in range(2):
        mcp_settings.change({"mount_on_api": False}, actor="test")
        with TestClient(app, base_url="http://localhost") as client:
            assert client.post("/mcp", json=BODY, headers=headers).status_code == 404
            assert client.get("/sse", headers=headers).status_code == 404
            mcp_settings.change({"mount_on_api": True}, actor="test")
            wait_until(lambda client=client: client.post("/mcp", json=BODY, headers=headers).status_code == 200)
            assert client.post("/mcp/", json=BODY, headers=ACCEPT).status_code == 401
