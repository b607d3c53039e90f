"""A server for the official conformance suite: ours, with the suite's fixture tools in a group of their own.

The suite cannot send a header, so a wrapper gives every request that group's key. Fixtures whose answers no tool of ours
gives (images, progress, capability checks) are answered here; the others go through the whole of our choke point.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    AudioContent,
    CallToolRequestParams,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import PermanentError
from mcp_server.server import McpServer
from mcp_server.toolkit import Toolbox, tool
from services import mcp_groups, mcp_tools
from services.mcp_groups import NewGroup
from services.mcp_tools import NewTool, ToolChange
from services.mcp_work import CallContext

GROUP = "conformance"
FIXTURES: Toolbox = {}
MISSING_CLIENT_CAPABILITY = -32021
# One red pixel, and a WAV file without samples.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SOUND = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="

Answer = Callable[[ServerRequestContext[Any]], Awaitable[CallToolResult]]


@tool(FIXTURES)
def test_simple_text(context: CallContext) -> dict[str, Any]:
    """Answer a text."""
    return {"text": "This is a simple text response for testing."}


@tool(FIXTURES)
def test_error_handling(context: CallContext) -> dict[str, Any]:
    """Answer an error."""
    raise PermanentError("This tool intentionally returns an error for testing")


@tool(FIXTURES)
def test_logging_tool(context: CallContext) -> dict[str, Any]:
    """Answer without logging to the client, as this server never does."""
    return {}


@tool(FIXTURES)
def json_schema_2020_12_tool(
    context: CallContext, name: str = "", address: Annotated[dict[str, Any] | None, Field()] = None
) -> dict[str, Any]:
    """Answer; its row carries a schema of its own."""
    return {"name": name, "address": address}


@tool(FIXTURES)
def test_custom_headers(context: CallContext, region: str | None, priority: int | None) -> dict[str, Any]:
    """Answer what came in arguments that are mirrored in headers."""
    return {"region": region, "priority": priority}


@tool(FIXTURES)
def test_trigger_tool_change(context: CallContext) -> dict[str, Any]:
    """Change a tool as an administrator would: listening clients have to be told."""
    row = next(one for one in mcp_tools.list_tools() if one.tool_name == "test_simple_text")
    changed = ToolChange(description=f"Changed {time.monotonic()}")
    mcp_tools.change(row.id, changed, actor="test")
    return {"changed": row.tool_name}


def _rich(context: CallContext) -> dict[str, Any]:
    """Be answered by the wrapper."""
    raise AssertionError("answered before it gets here")


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _resource() -> EmbeddedResource:
    contents = TextResourceContents(uri="test://embedded-resource", mime_type="text/plain", text="embedded")
    return EmbeddedResource(type="resource", resource=contents)


def _image() -> ImageContent:
    return ImageContent(type="image", data=PIXEL, mime_type="image/png")


async def _answer_image(_: ServerRequestContext[Any]) -> CallToolResult:
    return CallToolResult(content=[_image()])


async def _answer_audio(_: ServerRequestContext[Any]) -> CallToolResult:
    return CallToolResult(content=[AudioContent(type="audio", data=SOUND, mime_type="audio/wav")])


async def _answer_resource(_: ServerRequestContext[Any]) -> CallToolResult:
    return CallToolResult(content=[_resource()])


async def _answer_mixed(_: ServerRequestContext[Any]) -> CallToolResult:
    return CallToolResult(content=[_text("mixed"), _image(), _resource()])


async def _answer_with_progress(ctx: ServerRequestContext[Any]) -> CallToolResult:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
    return CallToolResult(content=[_text("done")])


async def _need_capability(ctx: ServerRequestContext[Any]) -> CallToolResult:
    raise MCPError(
        MISSING_CLIENT_CAPABILITY,
        "Missing required client capability",
        {"requiredCapabilities": {"sampling": {}}},
    )


RICH: dict[str, Answer] = {
    "test_image_content": _answer_image,
    "test_audio_content": _answer_audio,
    "test_embedded_resource": _answer_resource,
    "test_multiple_content_types": _answer_mixed,
    "test_tool_with_progress": _answer_with_progress,
    "test_missing_capability": _need_capability,
    "test_streaming_elicitation": _answer_with_progress,
}
for _name in RICH:
    _rich.__name__ = _name
    tool(FIXTURES)(_rich)

SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

SCHEMA_WITH_HEADERS = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "priority": {"type": "integer", "x-mcp-header": "Priority"},
    },
}
SCHEMAS = {"json_schema_2020_12_tool": SCHEMA_2020_12, "test_custom_headers": SCHEMA_WITH_HEADERS}


class ConformanceServer(McpServer):
    """Ours, with the rich fixtures answered here."""

    def __init__(self) -> None:
        super().__init__(FIXTURES)

    async def _call_tool(self, ctx: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        if params.name in RICH:
            return await RICH[params.name](ctx)
        return await super()._call_tool(ctx, params)


def offer_fixtures() -> str:
    """Put the fixtures into their group and return its key."""
    group, key = mcp_groups.create(NewGroup(name=GROUP), actor="test")
    for name in FIXTURES:
        mcp_tools.assign(NewTool(tool_name=name, group_id=group.id, input_schema=SCHEMAS.get(name)), actor="test")
    return key.get_secret_value()


def with_key(key: str) -> Callable[[ASGIApp], ASGIApp]:
    """Return a wrapper that gives every request the key."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {key}".encode())]
            await app(scope, receive, send)

        return wrapped

    return wrap
