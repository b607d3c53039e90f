"""A tool called by an administrator, to see what it answers: through the same choke point, logged as such."""

import asyncio
from typing import Any
from uuid import UUID

from mcp_types import TextContent

from core.errors import InvalidInputError, NotFoundError
from core.settings import get_settings
from mcp_server.calls import Caller, ToolRunner
from mcp_server.catalogue import Catalogue, documentation
from mcp_server.limits import RateLimiter
from mcp_server.recorder import CallRecorder
from mcp_server.tools import TOOLBOX
from services import mcp_registry, reveal

TRANSPORT = "test-call"


async def call_once(
    tool_id: UUID, arguments: dict[str, Any], *, actor: str, origin: str | None, acting_for: str | None = None
) -> dict[str, Any]:
    """Call the tool and return `{"success", "result", "duration_ms"}`.

    A disabled tool may be tried, and customers may be named by their ids whatever the group. What it answers is not
    masked, so the look is in the audit log before the call begins. Raise NotFoundError, or InvalidInputError where the
    row cannot be offered at all.
    """
    registry = await asyncio.to_thread(mcp_registry.current)
    catalogue = Catalogue(registry, TOOLBOX, trying=tool_id)
    offered = next(
        (one for view in catalogue.groups.values() for one in view.tools.values() if one.entry.id == tool_id), None
    )
    if offered is None:
        problem = catalogue.problems.get(tool_id)
        if problem is None:
            raise NotFoundError("no such tool", code="MCP_TOOL_NOT_FOUND")
        raise InvalidInputError(f"the tool cannot be offered: {problem}", code="MCP_TOOL_UNUSABLE")
    caller = Caller(catalogue.groups[offered.entry.group_id].entry, TRANSPORT, f"admin:{actor}", acting_for)
    await asyncio.to_thread(
        reveal.note_tool_call,
        tool_id,
        offered.entry.name,
        actor=actor,
        user_id=arguments.get("user_id"),
        acting_for=acting_for,
        origin=origin,
    )
    recorder, limiter = CallRecorder(), RateLimiter(get_settings().require_redis_url())
    runner = ToolRunner(lambda: catalogue, limiter, recorder)
    started = asyncio.get_running_loop().time()
    try:
        result = await runner.call(caller, offered.entry.name, arguments, protocol_version=None)
    finally:
        runner.close()
        await asyncio.to_thread(recorder.store_now)
        await limiter.close()
    text = "".join(part.text for part in result.content if isinstance(part, TextContent))
    return {
        "success": not result.is_error,
        "result": text,
        "duration_ms": round((asyncio.get_running_loop().time() - started) * 1000, 2),
    }


def preview(tool_name: str) -> dict[str, Any] | None:
    """Return what clients are told of a function by itself, before any row changes it; None for an unknown name."""
    function = TOOLBOX.get(tool_name)
    return documentation(function) if function is not None else None
