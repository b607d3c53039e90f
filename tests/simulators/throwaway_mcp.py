"""A throw-away MCP server on the official SDK, run as its own process: one tool, one key, and what it saw of the wire."""

import argparse
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import mcp_types as types
from mcp.server import Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulators.serve import serve

KEY = "mcp_key_test"
PROFILES: dict[str, dict[str, Any]] = {
    "jrn_mei": {
        "user_id": "jrn_mei", "username": "小美", "source": "wechat", "interests": ["skin", "laser"],
        "is_new_user": True, "locale": "zh-CN",
    },
    "jrn_emma": {
        "user_id": "jrn_emma", "username": "Emma O'Connor", "source": "website", "interests": ["hydration"],
        "is_new_user": True, "locale": "en-US",
    },
    "jrn_other": {"user_id": "jrn_other", "username": "别人", "source": "weibo", "interests": [], "locale": "zh-CN"},
    "jrn_sakura": {"user_id": "jrn_sakura", "username": "佐藤さくら", "source": "wechat", "locale": "ja-JP"},
    "jrn_seoyeon": {"user_id": "jrn_seoyeon", "username": "김서연", "source": "wechat", "locale": "ko-KR"},
    "jrn_taipei": {"user_id": "jrn_taipei", "username": "陳怡君", "source": "line", "locale": "zh-TW"},
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {"user_id": {"type": "string"}, "include_details": {"type": "boolean"}},
    "required": ["user_id"],
}
seen: list[dict[str, Any]] = []


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    tool = types.Tool(name="get_user_profile", description="The customer's profile.", input_schema=SCHEMA)
    return types.ListToolsResult(tools=[tool])


async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    found = PROFILES.get(str((params.arguments or {}).get("user_id")))
    if found is None:
        error = types.TextContent(type="text", text='{"error_code": "USER_NOT_FOUND"}')
        return types.CallToolResult(content=[error], is_error=True)
    return types.CallToolResult(content=[types.TextContent(type="text", text=json.dumps(found, ensure_ascii=False))])


class Gate:
    """Asks for the key and writes down every request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        entry: dict[str, Any] = {"method": scope["method"], "path": scope["path"], "headers": headers, "body": None}
        seen.append(entry)
        if headers.get("authorization") != f"Bearer {KEY}":
            await Response(status_code=401, headers={"www-authenticate": "Bearer"})(scope, receive, send)
            return

        async def recorded() -> Message:
            message = await receive()
            if message["type"] == "http.request" and message.get("body"):
                entry["body"] = json.loads(message["body"])
            return message

        await self._app(scope, recorded, send)


def build(*, stateful: bool) -> Starlette:
    server: Server[Any] = Server("throwaway", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    manager = StreamableHTTPSessionManager(server, json_response=not stateful, stateless=not stateful)
    sse = SseServerTransport("/messages/")

    async def serve_sse(scope: Scope, receive: Receive, send: Send) -> None:
        async with sse.connect_sse(scope, receive, send) as (read, write):
            await server.run(read, write, server.create_initialization_options())

    async def show(_request: Request) -> Response:
        return JSONResponse(seen)

    async def forget(_request: Request) -> Response:
        seen.clear()
        return JSONResponse({})

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    class SseApp:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await serve_sse(scope, receive, send)

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/seen", show, methods=["GET"]),
            Route("/seen", forget, methods=["DELETE"]),
            Route("/mcp", Gate(StreamableHTTPASGIApp(manager))),
            Route("/sse", Gate(SseApp()), methods=["GET"]),
            Mount("/messages/", Gate(sse.handle_post_message)),
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stateful", action="store_true")
    serve(build(stateful=parser.parse_args().stateful), host="127.0.0.1", port=0)
