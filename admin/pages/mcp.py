"""MCP: the server, groups with their keys, tools with documentation and test calls, the call log and statistics."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from admin.forms import Form, choice, identifier, moment, query_without, storable
from admin.i18n import Language
from admin.typed_form import message
from admin.web import Visit, pages, redirect, signed_in
from core.errors import InvalidInputError
from mcp_server import testcalls
from mcp_server.tools import TOOLBOX
from models import Tool
from queries.mcp_calls import CallFilter
from services import mcp_calls, mcp_groups, mcp_registry, mcp_status, mcp_tools
from services.mcp_groups import GroupChange, NewGroup
from services.mcp_tools import NewTool, ToolChange
from services.permissions import Permission, Role

router = pages("/mcp")

Manager = Annotated[Visit, Depends(signed_in(Permission.MANAGE_MCP))]
SHOWN = 50
STATISTICS_DAYS = 7
TIERS = ("internal", "external")


@router.get("")
def overview(visit: Manager) -> Response:
    return _overview(visit)


@router.post("/groups")
def create_group(visit: Manager) -> Response:
    """Create a group and show its key."""
    form = visit.form
    try:
        new = NewGroup(name=form.line("name"), **_group_values(form))
    except ValidationError as error:
        return _overview(visit, status=422, problem=_problems(error, visit.language))
    group, key = mcp_groups.create(new, actor=visit.actor, origin=visit.origin)
    return _group(visit, group.id, key=key.get_secret_value())


@router.get("/groups/{group_id}")
def show_group(group_id: UUID, visit: Manager) -> Response:
    return _group(visit, group_id)


@router.post("/groups/{group_id}")
def change_group(group_id: UUID, visit: Manager) -> Response:
    try:
        changed = GroupChange(**_group_values(visit.form))
    except ValidationError as error:
        return _group(visit, group_id, status=422, problem=_problems(error, visit.language))
    mcp_groups.change(group_id, changed, actor=visit.actor, origin=visit.origin)
    return redirect(f"/admin/mcp/groups/{group_id}", done="group-changed")


@router.post("/groups/{group_id}/key")
def show_key(group_id: UUID, visit: Manager) -> Response:
    """Show the key; who looked is written into the audit log."""
    key = mcp_groups.reveal_key_by_id(group_id, visit.actor, origin=visit.origin)
    return _group(visit, group_id, key=key.get_secret_value())


@router.post("/groups/{group_id}/regenerate")
def regenerate(group_id: UUID, visit: Manager) -> Response:
    """Replace the key, once the form says that the old one may stop."""
    if not visit.form.flag("confirmed"):
        problem = visit.gettext("Tick that the present key may stop at once.")
        return _group(visit, group_id, status=422, problem=problem)
    key = mcp_groups.regenerate_key(group_id, actor=visit.actor, origin=visit.origin)
    return _group(visit, group_id, key=key.get_secret_value())


@router.post("/groups/{group_id}/delete")
def delete_group(group_id: UUID, visit: Manager) -> Response:
    """Delete the group, once the form names it."""
    found = mcp_groups.get(group_id)
    if visit.form.line("name") != found.name:
        problem = visit.gettext("Type the group's name to delete it.")
        return _group(visit, group_id, status=422, problem=problem)
    mcp_groups.delete(group_id, actor=visit.actor, origin=visit.origin)
    return redirect("/admin/mcp", done="group-deleted")


@router.post("/groups/{group_id}/tools")
def assign(group_id: UUID, visit: Manager) -> Response:
    name = visit.form.line("tool_name")
    if name not in TOOLBOX:
        raise InvalidInputError("there is no function of this name", code="MCP_TOOL_UNKNOWN")
    mcp_tools.assign(NewTool(tool_name=name, group_id=group_id), actor=visit.actor, origin=visit.origin)
    return redirect(f"/admin/mcp/groups/{group_id}", done="tool-assigned")


@router.get("/tools/{tool_id}")
def show_tool(tool_id: UUID, visit: Manager) -> Response:
    return _tool(visit, tool_id)


@router.post("/tools/{tool_id}")
def change_tool(tool_id: UUID, visit: Manager) -> Response:
    form = visit.form
    values = {
        "enabled": form.flag("enabled"),
        "timeout_seconds": form.line("timeout_seconds"),
        "version": form.line("version"),
        "description": form.text("description").strip() or None,
    }
    try:
        config = json.loads(form.text("config_data").strip() or "{}")
        changed = ToolChange.model_validate(values | {"config_data": config})
    except ValidationError as error:
        return _tool(visit, tool_id, status=422, problem=_problems(error, visit.language))
    except (ValueError, RecursionError):
        return _tool(visit, tool_id, status=422, problem=visit.gettext("The configuration must be a JSON object."))
    mcp_tools.change(tool_id, changed, actor=visit.actor, origin=visit.origin)
    return redirect(f"/admin/mcp/tools/{tool_id}", done="tool-changed")


@router.post("/tools/{tool_id}/remove")
def remove_tool(tool_id: UUID, visit: Manager) -> Response:
    """Take the tool out of its group; its row's changes are lost, its calls stay in the log."""
    group_id = mcp_tools.get(tool_id).group_id
    mcp_tools.remove(tool_id, actor=visit.actor, origin=visit.origin)
    return redirect(f"/admin/mcp/groups/{group_id}", done="tool-removed")


@router.post("/tools/{tool_id}/test")
async def test_call(tool_id: UUID, visit: Manager) -> Response:
    """Call the tool with the form's arguments and show what it answers; logged as a test call, and audited as a look."""
    text = visit.form.text("arguments").strip() or "{}"
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        problem = visit.gettext("The arguments must be a JSON object.")
        return await run_in_threadpool(_tool, visit, tool_id, status=422, problem=problem, arguments=text)
    acting_for = storable(visit.form.text("acting_for"))
    answer = await testcalls.call_once(
        tool_id, arguments, actor=visit.actor, origin=visit.origin, acting_for=acting_for
    )
    return await run_in_threadpool(_tool, visit, tool_id, answer=answer, arguments=text)


@router.get("/calls")
def calls(visit: Manager) -> Response:
    query = visit.query
    wanted = CallFilter(
        tool_name=storable(query.get("tool_name")),
        group_id=identifier(query.get("group_id")),
        caller_app_id=storable(query.get("caller_app_id")),
        journey_id=identifier(query.get("journey_id")),
        success={"yes": True, "no": False}.get(query.get("success", "")),
        from_at=moment(query.get("from")),
        to_at=moment(query.get("to")),
        before=_read_cursor(query.get("before")),
    )
    found = mcp_calls.list_calls(wanted, limit=SHOWN + 1)
    rows = found[:SHOWN]
    return visit.page(
        "mcp_calls.html",
        rows=rows,
        query=query,
        kept=query_without(query, "before", "done"),
        next_before=f"{rows[-1].created_at.isoformat()}_{rows[-1].id}" if len(found) > SHOWN else None,
        groups=mcp_groups.list_groups(),
    )


def _overview(visit: Visit, *, status: int = 200, problem: str | None = None) -> Response:
    since = datetime.now(UTC) - timedelta(days=STATISTICS_DAYS)
    return visit.page(
        "mcp.html",
        status=status,
        server=mcp_status.describe(),
        groups=mcp_groups.list_groups(),
        tools=mcp_tools.list_tools(),
        statistics=mcp_calls.statistics(CallFilter(from_at=since)),
        days=STATISTICS_DAYS,
        problem=problem,
        form=visit.form,
        tiers=TIERS,
        roles=[*Role, "doctor"],
    )


def _group(
    visit: Visit, group_id: UUID, *, status: int = 200, problem: str | None = None, key: str | None = None
) -> Response:
    tools = mcp_tools.list_tools(group_id)
    offered = {one.tool_name for one in tools}
    return visit.page(
        "mcp_group.html",
        status=status,
        group=mcp_groups.get(group_id),
        tools=[(one, _trouble(one)) for one in tools],
        functions=sorted(set(TOOLBOX) - offered),
        key=key,
        problem=problem,
        tiers=TIERS,
        roles=[*Role, "doctor"],
    )


def _tool(
    visit: Visit,
    tool_id: UUID,
    *,
    status: int = 200,
    problem: str | None = None,
    answer: dict[str, Any] | None = None,
    arguments: str | None = None,
) -> Response:
    tool = mcp_tools.get(tool_id)
    documentation = testcalls.preview(tool.tool_name)
    return visit.page(
        "mcp_tool.html",
        status=status,
        tool=tool,
        group=mcp_groups.get(tool.group_id),
        trouble=_trouble(tool),
        documentation=documentation,
        schema=tool.input_schema or (documentation or {}).get("input_schema"),
        answer=answer,
        arguments=arguments if arguments is not None else _sample(documentation),
        problem=problem,
    )


def _trouble(tool: Tool) -> str | None:
    """Return why the tool cannot be offered."""
    entry = mcp_registry.current().tools.get(tool.group_id, {}).get(tool.tool_name)
    if tool.tool_name not in TOOLBOX:
        return "no function of this name"
    return entry.problem if entry is not None else None


def _sample(documentation: dict[str, Any] | None) -> str:
    """Return arguments to begin with: each required one, empty."""
    schema = (documentation or {}).get("input_schema", {})
    return json.dumps(dict.fromkeys(schema.get("required", []), ""), ensure_ascii=False, indent=2)


def _group_values(form: Form) -> dict[str, Any]:
    return {
        "description": form.text("description"),
        "enabled": form.flag("enabled"),
        "user_tier_access": form.all("user_tier_access"),
        "allowed_roles": [role for role in form.all("allowed_roles") if role == "doctor" or choice(Role, role)],
        "accepts_user_ids": form.flag("accepts_user_ids"),
        "key_expires_at": moment(form.line("key_expires_at")),
    }


def _problems(error: ValidationError, language: Language) -> str:
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {message(one, language)}" for one in error.errors(include_url=False)
    )


def _read_cursor(value: str | None) -> tuple[datetime, UUID] | None:
    at, _, call_id = (value or "").partition("_")
    found_at, found_id = moment(at), identifier(call_id)
    return (found_at, found_id) if found_at is not None and found_id is not None else None
