"""Reads and row locks of MCP groups and tools."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from core.ids import new_id
from models import Tool, ToolGroup


def list_groups(session: Session) -> list[ToolGroup]:
    return list(session.scalars(select(ToolGroup).order_by(ToolGroup.name)))


def list_tools(session: Session, group_id: UUID | None = None) -> list[Tool]:
    """Return the tools, of one group where it is named, by name."""
    statement = select(Tool).order_by(Tool.tool_name, Tool.id)
    if group_id is not None:
        statement = statement.where(Tool.group_id == group_id)
    return list(session.scalars(statement))


def find_group_by_name(session: Session, name: str) -> ToolGroup | None:
    return session.scalars(select(ToolGroup).where(ToolGroup.name == name)).one_or_none()


def get_group_by_name(session: Session, name: str) -> ToolGroup:
    """Return the group; raise NotFoundError."""
    group = find_group_by_name(session, name)
    if group is None:
        raise NotFoundError(f"no tool group is named {name!r}", code="MCP_GROUP_NOT_FOUND")
    return group


def get_group(session: Session, group_id: UUID) -> ToolGroup:
    """Return the group; raise NotFoundError."""
    group = session.get(ToolGroup, group_id)
    if group is None:
        raise NotFoundError("no such tool group", code="MCP_GROUP_NOT_FOUND")
    return group


def lock_group(session: Session, group_id: UUID) -> ToolGroup:
    """Return the group, its row locked until the transaction ends; raise NotFoundError."""
    group = session.get(ToolGroup, group_id, with_for_update=True)
    if group is None:
        raise NotFoundError("no such tool group", code="MCP_GROUP_NOT_FOUND")
    return group


def lock_tool(session: Session, tool_id: UUID) -> Tool:
    """Return the tool, its row locked until the transaction ends; raise NotFoundError."""
    tool = session.get(Tool, tool_id, with_for_update=True)
    if tool is None:
        raise NotFoundError("no such tool", code="MCP_TOOL_NOT_FOUND")
    return tool


def insert_group_if_missing(session: Session, group: ToolGroup) -> bool:
    """Insert the group unless one of its name exists; tell whether it was inserted."""
    values = {
        "id": new_id(),
        "name": group.name,
        "description": group.description,
        "key_hash": group.key_hash,
        "key_encrypted": group.key_encrypted,
        "user_tier_access": group.user_tier_access,
        "allowed_roles": group.allowed_roles,
        "accepts_user_ids": group.accepts_user_ids,
        "created_by": group.created_by,
    }
    statement = insert(ToolGroup).values(**values).on_conflict_do_nothing(index_elements=["name"])
    return session.scalar(statement.returning(ToolGroup.id)) is not None


def insert_tools_if_missing(session: Session, group_name: str, tool_names: list[str]) -> None:
    """Assign the tools to the group unless they are there already."""
    group_id = select(ToolGroup.id).where(ToolGroup.name == group_name).scalar_subquery()
    rows = [{"id": new_id(), "tool_name": name, "group_id": group_id} for name in tool_names]
    session.execute(insert(Tool).values(rows).on_conflict_do_nothing(index_elements=["group_id", "tool_name"]))


_TOUCH_KEY = text(
    "UPDATE mcp_tool_groups SET key_last_used_at = greatest(key_last_used_at, :used_at) WHERE id = :group_id"
)


def touch_keys(session: Session, used_at: Mapping[UUID, datetime]) -> None:
    """Note when each group's key was last used; never moves a time back. Groups are taken in one order by every writer."""
    if used_at:
        parameters = [{"group_id": group_id, "used_at": used_at[group_id]} for group_id in sorted(used_at)]
        session.execute(_TOUCH_KEY, parameters)
