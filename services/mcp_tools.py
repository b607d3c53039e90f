"""Tools as rows: assign them to groups, change them, list them with what is wrong with them. In force at once, audited."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.clock import utc_now
from core.database import unit_of_work
from core.errors import ConflictError, InvalidInputError
from core.storable import storable
from models import Tool
from queries import mcp_groups as queries
from services import audit, mcp_registry, tool_schemas

MAX_CONFIG_ENTRIES = 50


class ToolChange(BaseModel):
    """The fields of a tool an administrator may set; on a change, only those given are touched."""

    model_config = ConfigDict(extra="forbid")

    group_id: UUID | None = None
    enabled: bool = True
    timeout_seconds: Annotated[
        float, Field(ge=tool_schemas.MIN_TIMEOUT_SECONDS, le=tool_schemas.MAX_TIMEOUT_SECONDS)
    ] = 30.0
    version: Annotated[str, Field(min_length=1, max_length=32)] = "1.0.0"
    # None for what the function says of itself.
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    config_data: Annotated[dict[str, Any], Field(max_length=MAX_CONFIG_ENTRIES)] = {}

    @field_validator("description")
    @classmethod
    def _readable(cls, description: str | None) -> str | None:
        if description is not None:
            _as_value_error(tool_schemas.check_description, description)
        return description

    @field_validator("input_schema")
    @classmethod
    def _safe(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            _as_value_error(tool_schemas.check_schema, schema)
        return schema

    @model_validator(mode="after")
    def _can_be_stored(self) -> Self:
        storable(self.model_dump())
        return self

    @field_validator("config_data")
    @classmethod
    def _known_limits(cls, config: dict[str, Any]) -> dict[str, Any]:
        limit = config.get("calls_per_minute", 0)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise ValueError("calls_per_minute must be a whole number, 0 for no limit")
        return config


class NewTool(ToolChange):
    tool_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    group_id: UUID


def list_tools(group_id: UUID | None = None) -> list[Tool]:
    with unit_of_work() as session:
        return queries.list_tools(session, group_id)


def get(tool_id: UUID) -> Tool:
    """Return the tool; raise NotFoundError."""
    with unit_of_work() as session:
        return queries.lock_tool(session, tool_id)


def assign(new: NewTool, *, actor: str, origin: str | None = None) -> Tool:
    """Offer a function in a group; raise ConflictError when that group has it, NotFoundError for no such group."""
    tool = Tool(**new.model_dump())
    try:
        with unit_of_work() as session:
            queries.get_group(session, new.group_id)
            session.add(tool)
            session.flush()
            session.refresh(tool)
            _audit(session, actor, origin, "mcp_tool.assigned", tool, after=describe(tool))
    except IntegrityError:
        raise ConflictError("the group has a tool of this name", code="MCP_TOOL_EXISTS") from None
    mcp_registry.reload()
    return tool


def change(tool_id: UUID, changed: ToolChange, *, actor: str, origin: str | None = None) -> Tool:
    """Set the given fields; raise NotFoundError, or ConflictError when the new group has a tool of this name."""
    try:
        with unit_of_work() as session:
            tool = queries.lock_tool(session, tool_id)
            before = describe(tool)
            for name in changed.model_fields_set:
                value = getattr(changed, name)
                if name == "group_id":
                    if value is None:
                        raise InvalidInputError("a tool belongs to a group")
                    queries.get_group(session, value)
                setattr(tool, name, value)
            tool.updated_at = utc_now()
            session.flush()
            _audit(session, actor, origin, "mcp_tool.changed", tool, before=before, after=describe(tool))
    except IntegrityError:
        raise ConflictError("the group has a tool of this name", code="MCP_TOOL_EXISTS") from None
    mcp_registry.reload()
    return tool


def remove(tool_id: UUID, *, actor: str, origin: str | None = None) -> None:
    """Take the tool out of its group; its calls stay in the log. Raise NotFoundError."""
    with unit_of_work() as session:
        tool = queries.lock_tool(session, tool_id)
        _audit(session, actor, origin, "mcp_tool.removed", tool, before=describe(tool))
        session.delete(tool)
    mcp_registry.reload()


def describe(tool: Tool) -> dict[str, Any]:
    """Return the row as administrators see it."""
    return {
        "id": str(tool.id),
        "tool_name": tool.tool_name,
        "group_id": str(tool.group_id),
        "handler": tool.handler,
        "version": tool.version,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "enabled": tool.enabled,
        "timeout_seconds": tool.timeout_seconds,
        "config_data": tool.config_data,
        "created_at": tool.created_at.isoformat(),
        "updated_at": tool.updated_at.isoformat(),
    }


def _audit(
    session: Session,
    actor: str,
    origin: str | None,
    action: str,
    tool: Tool,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        subject=f"mcp_tool:{tool.id}",
        before=before,
        after=after,
        origin=origin,
    )


def _as_value_error(check: Any, value: Any) -> None:
    # Validation libraries collect ValueErrors; ours is none.
    try:
        check(value)
    except InvalidInputError as error:
        raise ValueError(error.message) from None
