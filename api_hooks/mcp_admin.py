"""Administration of MCP over REST: groups and keys, tools and test calls, the call log, statistics, status, settings."""

import asyncio
import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from api_hooks.auth import Origin, require
from api_hooks.fields import Cursor, Input, JsonObject, Limit, Moment, RequiredText, Text, iso
from api_hooks.responses import ok
from api_hooks.settings import IfMatch, etag, read_etag
from core.errors import InvalidInputError
from mcp_server import testcalls
from mcp_server.tools import TOOLBOX
from models import CallLog
from queries.mcp_calls import CallFilter
from services import mcp_calls, mcp_groups, mcp_registry, mcp_settings, mcp_status, mcp_tools
from services.auth import Identity
from services.mcp_groups import GroupChange, NewGroup
from services.mcp_tools import NewTool, ToolChange
from services.permissions import Permission

router = APIRouter(prefix="/mcp", tags=["mcp"])

Admin = Annotated[Identity, Depends(require(Permission.MANAGE_MCP))]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEFAULT_DAYS = 7


class TestCall(Input):
    """What to call the tool with, and whom to act for (a user id or a journey handle)."""

    arguments: JsonObject = Field(default_factory=dict)
    acting_for: RequiredText | None = None


class KeyReplacement(Input):
    expires_at: Moment | None = None


class SettingsChange(Input):
    values: JsonObject
    reason: RequiredText | None = None


@router.get("/groups", summary="List tool groups")
def list_groups(_: Admin) -> dict[str, Any]:
    items = [mcp_groups.describe(group) for group in mcp_groups.list_groups()]
    return ok({"items": items, "next_cursor": None})


@router.post("/groups", status_code=201, summary="Create a tool group; its key is in the answer, this once")
def create_group(new: NewGroup, admin: Admin, origin: Origin, response: Response) -> dict[str, Any]:
    group, key = mcp_groups.create(new, actor=admin.actor, origin=origin)
    response.headers["cache-control"] = "no-store"
    return ok(mcp_groups.describe(group) | {"api_key": key.get_secret_value()}, "group created")


@router.patch("/groups/{group_id}", summary="Change a tool group")
def change_group(group_id: UUID, changed: GroupChange, admin: Admin, origin: Origin) -> dict[str, Any]:
    return ok(
        mcp_groups.describe(mcp_groups.change(group_id, changed, actor=admin.actor, origin=origin)), "group changed"
    )


@router.delete("/groups/{group_id}", summary="Delete a tool group with its tools' assignments")
def delete_group(group_id: UUID, admin: Admin, origin: Origin) -> dict[str, Any]:
    mcp_groups.delete(group_id, actor=admin.actor, origin=origin)
    return ok(None, "group deleted")


@router.get("/groups/{group_id}/api-key", summary="Show a group's key; written down in the audit log")
def show_key(group_id: UUID, admin: Admin, origin: Origin, response: Response) -> dict[str, Any]:
    response.headers["cache-control"] = "no-store"
    return ok({"api_key": mcp_groups.reveal_key_by_id(group_id, admin.actor, origin=origin).get_secret_value()})


@router.post("/groups/{group_id}/regenerate-key", summary="Replace a group's key; the old one stops at once")
def regenerate_key(
    group_id: UUID, admin: Admin, origin: Origin, response: Response, replacement: KeyReplacement | None = None
) -> dict[str, Any]:
    expires_at = replacement.expires_at if replacement else None
    key = mcp_groups.regenerate_key(group_id, actor=admin.actor, expires_at=expires_at, origin=origin)
    response.headers["cache-control"] = "no-store"
    return ok({"api_key": key.get_secret_value()}, "the old key is no longer valid")


@router.get("/tools", summary="List tools, with their documentation and what is wrong with them")
def list_tools(_: Admin, group_id: UUID | None = None) -> dict[str, Any]:
    items = [_described(mcp_tools.describe(tool)) for tool in mcp_tools.list_tools(group_id)]
    return ok({"items": items, "next_cursor": None})


@router.get("/functions", summary="List the functions that can be assigned to groups")
def list_functions(_: Admin) -> dict[str, Any]:
    return ok({"items": [testcalls.preview(name) for name in sorted(TOOLBOX)], "next_cursor": None})


@router.post("/tools", status_code=201, summary="Offer a function in a group")
def assign_tool(new: NewTool, admin: Admin, origin: Origin) -> dict[str, Any]:
    if new.tool_name not in TOOLBOX:
        raise InvalidInputError("there is no function of this name", code="MCP_TOOL_UNKNOWN")
    return ok(_described(mcp_tools.describe(mcp_tools.assign(new, actor=admin.actor, origin=origin))), "tool assigned")


@router.put("/tools/{tool_id}", summary="Change a tool; in force in every process at once")
def change_tool(tool_id: UUID, changed: ToolChange, admin: Admin, origin: Origin) -> dict[str, Any]:
    return ok(
        _described(mcp_tools.describe(mcp_tools.change(tool_id, changed, actor=admin.actor, origin=origin))),
        "tool changed",
    )


@router.delete("/tools/{tool_id}", summary="Take a tool out of its group")
def remove_tool(tool_id: UUID, admin: Admin, origin: Origin) -> dict[str, Any]:
    mcp_tools.remove(tool_id, actor=admin.actor, origin=origin)
    return ok(None, "tool removed")


@router.post("/tools/{tool_id}/test-call", summary="Call a tool and see its answer; logged as a test call, and audited")
async def test_call(tool_id: UUID, call: TestCall, admin: Admin, origin: Origin) -> dict[str, Any]:
    return ok(
        await testcalls.call_once(tool_id, call.arguments, actor=admin.actor, origin=origin, acting_for=call.acting_for)
    )


@router.get("/call-logs", summary="Search the call log, newest first")
def list_calls(
    _: Admin,
    tool_name: Text | None = None,
    group_id: UUID | None = None,
    caller_app_id: Text | None = None,
    journey_id: UUID | None = None,
    success: bool | None = None,
    from_at: Annotated[Moment | None, Query(alias="from")] = None,
    to_at: Annotated[Moment | None, Query(alias="to")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    wanted = CallFilter(
        tool_name,
        group_id,
        caller_app_id,
        journey_id,
        success,
        from_at,
        to_at,
        _read_cursor(cursor) if cursor else None,
    )
    found = mcp_calls.list_calls(wanted, limit=limit + 1)
    more = len(found) > limit
    items = found[:limit]
    return ok({"items": [_call(one) for one in items], "next_cursor": _cursor_of(items[-1]) if more else None})


@router.get("/stats", summary="Calls, errors and p50, p95, p99 per group and tool")
def statistics(
    _: Admin,
    from_at: Annotated[Moment | None, Query(alias="from", description="Seven days ago unless given")] = None,
    to_at: Annotated[Moment | None, Query(alias="to")] = None,
    group_id: UUID | None = None,
) -> dict[str, Any]:
    since = from_at or datetime.now(UTC) - timedelta(days=_DEFAULT_DAYS)
    rows = mcp_calls.statistics(CallFilter(group_id=group_id, from_at=since, to_at=to_at))
    items = [row | {"last_call_at": iso(row["last_call_at"])} for row in rows]
    return ok({"from": iso(since), "to": iso(to_at), "items": items})


@router.get("/status", summary="Whether the server is up, and what it offers")
async def status(_: Admin) -> dict[str, Any]:
    return ok(await asyncio.to_thread(mcp_status.describe))


@router.get("/settings", summary="Get the MCP server's settings")
def get_settings(_: Admin, response: Response) -> dict[str, Any]:
    running = mcp_settings.FAMILY.running()
    response.headers["ETag"] = etag(running.version)
    return ok({"version": running.version, "values": running.values.model_dump(mode="json")})


@router.put("/settings", summary="Change the MCP server's settings; in force in every process at once")
def change_settings(
    change: SettingsChange, admin: Admin, origin: Origin, response: Response, if_match: IfMatch = None
) -> dict[str, Any]:
    expected = read_etag(if_match) if if_match is not None else None
    written = mcp_settings.change(
        change.values, actor=admin.actor, reason=change.reason, expected_version=expected, origin=origin
    )
    response.headers["ETag"] = etag(written.version)
    return ok({"version": written.version, "values": written.values.model_dump(mode="json")}, "settings changed")


def _described(tool: dict[str, Any]) -> dict[str, Any]:
    entry = mcp_registry.current().tools.get(UUID(tool["group_id"]), {}).get(tool["tool_name"])
    preview = testcalls.preview(tool["tool_name"])
    problem = entry.problem if entry is not None else None
    return tool | {
        "problem": problem or (None if preview is not None else "no function of this name"),
        "documentation": preview,
    }


def _call(call: CallLog) -> dict[str, Any]:
    return {
        "id": str(call.id),
        "created_at": iso(call.created_at),
        "tool_name": call.tool_name,
        "group_id": str(call.group_id),
        "group_name": call.group_name,
        "journey_id": str(call.journey_id) if call.journey_id else None,
        "caller_app_id": call.caller_app_id,
        "transport": call.transport,
        "protocol_version": call.protocol_version,
        "outcome": call.outcome,
        "success": call.success,
        "duration_ms": call.duration_ms,
        "request": call.request,
        "response": call.response,
        "error_code": call.error_code,
        "error": call.error,
    }


def _cursor_of(call: CallLog) -> str:
    microseconds = (call.created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(struct.pack(">q", microseconds) + call.id.bytes).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        raw = base64.urlsafe_b64decode(cursor)
        return _EPOCH + timedelta(microseconds=struct.unpack(">q", raw[:8])[0]), UUID(bytes=raw[8:])
    except (binascii.Error, ValueError, struct.error, OverflowError):
        raise InvalidInputError("the cursor is not one that this list gave out", code="INVALID_CURSOR") from None
