"""Which groups and tools are in force, as an immutable snapshot: answered without a query, current within a second."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.errors import InvalidInputError
from core.snapshots import Snapshot
from models import Tool, ToolGroup
from queries import mcp_groups
from services import mcp_settings, tool_schemas

ANNOUNCED_AS = "mcp"
# The server as a whole, as a service name.
SERVER = "mcp"


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """A group as every process knows it; the key only as its hash."""

    id: UUID
    name: str
    description: str
    enabled: bool
    key_hash: bytes
    key_expires_at: datetime | None
    tiers: frozenset[str]
    roles: frozenset[str]
    accepts_user_ids: bool


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A tool in a group. `problem` says why it cannot be offered, where something is wrong with its row."""

    id: UUID
    name: str
    group_id: UUID
    version: str
    description: str | None
    input_schema: dict[str, Any] | None
    enabled: bool
    timeout_seconds: float
    config: dict[str, Any]
    problem: str | None


@dataclass(frozen=True)
class Registry:
    """Everything the server decides by."""

    groups: dict[UUID, GroupEntry]
    groups_by_key: dict[bytes, GroupEntry]
    # By group, then by name; disabled and faulty ones included, so that a refusal's reason can be told from another.
    tools: dict[UUID, dict[str, ToolEntry]]
    names: frozenset[str] = field(default_factory=frozenset)
    available: frozenset[str] = field(default_factory=frozenset)


def _group_entry(row: ToolGroup) -> GroupEntry:
    return GroupEntry(
        id=row.id,
        name=row.name,
        description=row.description,
        enabled=row.enabled,
        key_hash=bytes(row.key_hash),
        key_expires_at=row.key_expires_at,
        tiers=frozenset(row.user_tier_access),
        roles=frozenset(row.allowed_roles),
        accepts_user_ids=row.accepts_user_ids,
    )


def _tool_entry(row: Tool) -> ToolEntry:
    return ToolEntry(
        id=row.id,
        name=row.tool_name,
        group_id=row.group_id,
        version=row.version,
        description=row.description,
        input_schema=row.input_schema,
        enabled=row.enabled,
        timeout_seconds=row.timeout_seconds,
        config=row.config_data,
        problem=_problem_of(row),
    )


def _problem_of(row: Tool) -> str | None:
    # A row that was changed behind the service's back must not take the whole list with it.
    try:
        tool_schemas.check_tool(row.tool_name, row.description, row.input_schema, row.timeout_seconds)
    except InvalidInputError as error:
        return error.message
    return None


def _load(session: Session) -> Registry:
    groups = {row.id: _group_entry(row) for row in mcp_groups.list_groups(session)}
    tools: dict[UUID, dict[str, ToolEntry]] = {group_id: {} for group_id in groups}
    for row in mcp_groups.list_tools(session):
        tools.setdefault(row.group_id, {})[row.tool_name] = _tool_entry(row)
    return Registry(
        groups=groups,
        groups_by_key={group.key_hash: group for group in groups.values()},
        tools=tools,
        names=frozenset(name for of_group in tools.values() for name in of_group),
        available=frozenset(
            tool.name
            for group in groups.values()
            if group.enabled
            for tool in tools[group.id].values()
            if tool.enabled and tool.problem is None
        ),
    )


_snapshot = Snapshot(ANNOUNCED_AS, _load)


def current() -> Registry:
    """Return the configuration in force in this process."""
    return _snapshot.current()


def reload() -> None:
    """Follow a change this process just made, before it answers; the others hear of it."""
    _snapshot.reload()


def on_change(notify: Callable[[Registry], None]) -> None:
    """Call `notify` with every newly loaded configuration, on the thread that loaded it."""
    _snapshot.on_change(notify)


def is_service_enabled(name: str) -> bool:
    """Tell whether a service runs: `mcp` for the server, else a tool group's name. An unknown name is not enabled."""
    if not mcp_settings.current().enabled:
        return False
    return name == SERVER or any(group.name == name and group.enabled for group in current().groups.values())


def is_tool_available(tool_name: str) -> bool:
    """Tell whether some enabled group offers the tool. Answered from the snapshot, so it may be asked per request."""
    return mcp_settings.current().enabled and tool_name in current().available


def is_switched_off(tool_name: str) -> bool:
    """Tell whether an installation that has tool groups offers the tool in none: server, group or tool is disabled, or gone.

    Without any group nothing was set up that could be switched off, so the answer is False.
    """
    return bool(current().groups) and not is_tool_available(tool_name)
