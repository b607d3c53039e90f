"""A running MCP server and a client that speaks to it as plain as the wire does."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import psycopg
import uvicorn
from starlette.types import ASGIApp

from core.settings import get_settings
from mcp_server.app import create_app
from mcp_server.server import McpServer
from mcp_server.toolkit import Toolbox
from mcp_server.tools import TOOLBOX
from services import mcp_groups
from tests.support.waiting import wait_until

ACCEPT = {"accept": "application/json, text/event-stream"}


class Client:
    """One key's view of a server."""

    def __init__(self, base: str, key: str | None) -> None:
        self.base = base
        self.headers = ACCEPT | ({"authorization": f"Bearer {key}"} if key else {})
        self.http = httpx.Client(base_url=base, timeout=15)

    def post(self, body: Any, *, path: str = "/mcp", headers: dict[str, str] | None = None) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json"} | self.headers | (headers or {})
        return self.http.post(path, content=content, headers=sent)

    def rpc(self, method: str, params: dict[str, Any] | None = None, **options: Any) -> httpx.Response:
        return self.post({"jsonrpc": "2.0", "id": 0, "method": method, "params": params or {}}, **options)

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self.rpc("tools/list").json()["result"]["tools"]]

    def call_raw(self, tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        return dict(self.rpc("tools/call", {"name": tool, "arguments": arguments or {}}, **options).json())

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return the tool's answer, which must not be an error."""
        answer = self.call_raw(tool, arguments)
        assert "result" in answer, answer
        result = answer["result"]
        assert result["isError"] is False, result
        return dict(json.loads(result["content"][0]["text"]))

    def refused(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return the tool's error."""
        result = self.call_raw(tool, arguments)["result"]
        assert result["isError"] is True, result
        return dict(json.loads(result["content"][0]["text"]))


class RunningServer:
    """An MCP server on a port of its own, in this process."""

    def __init__(self, mcp: McpServer, wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app) -> None:
        self.mcp = mcp
        config = uvicorn.Config(
            wrap(create_app(mcp)), port=0, log_config=None, timeout_graceful_shutdown=2, http="httptools", lifespan="on"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> "RunningServer":
        self._thread.start()
        wait_until(lambda: self._server.started)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()

    def client(self, group: str | None) -> Client:
        return Client(self.base, key_of(group) if group else None)


@contextmanager
def running(toolbox: Toolbox = TOOLBOX) -> Iterator[RunningServer]:
    server = RunningServer(McpServer(toolbox)).start()
    try:
        yield server
    finally:
        server.stop()


def key_of(group: str) -> str:
    return mcp_groups.reveal_key(group, "test").get_secret_value()


def group_id(name: str) -> UUID:
    return next(group.id for group in mcp_groups.list_groups() if group.name == name)


def rows(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Read from the database beside everything that is under test."""
    with psycopg.connect(get_settings().require_database_url()) as connection:
        return connection.execute(statement, parameters).fetchall()


def logged(count: int) -> list[dict[str, Any]]:
    """Wait until exactly this many calls are in the log, and return them, oldest first."""
    columns = "tool_name, group_name, journey_id, caller_app_id, outcome, success, request, response, error_code, error"
    columns += ", duration_ms, transport, protocol_version"

    def read() -> list[tuple[Any, ...]]:
        return rows(f"SELECT {columns} FROM mcp_call_logs ORDER BY created_at, id")

    wait_until(lambda: len(read()) >= count)
    found = read()
    assert len(found) == count
    names = columns.split(", ")
    return [dict(zip(names, row, strict=True)) for row in found]
