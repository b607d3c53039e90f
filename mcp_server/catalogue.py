"""What each group offers right now: the registry's rows joined with our functions, finished for the wire."""

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson
from jsonschema.protocols import Validator
from mcp_types import Tool

from core import log_events
from core.clock import utc_now
from core.logging import get_logger
from mcp_server.toolkit import InvalidArgumentsError, Toolbox, ToolFunction
from models import CallOutcome
from services import tool_schemas
from services.mcp_registry import GroupEntry, Registry, ToolEntry

log = get_logger(__name__)


@dataclass(frozen=True)
class OfferedTool:
    """A tool as one group offers it."""

    entry: ToolEntry
    function: ToolFunction
    input_schema: dict[str, Any]
    # Only where an administrator replaced the function's own schema.
    validator: Validator | None

    def validated(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments as the function takes them; raise InvalidArgumentsError."""
        if self.validator is not None:
            error = next(iter(self.validator.iter_errors(arguments)), None)
            if error is not None:
                where = ".".join(str(part)[:64] for part in error.absolute_path) or "arguments"
                raise InvalidArgumentsError(f"{where}: {error.message[:200]}")
        return self.function.validated(arguments)


@dataclass(frozen=True)
class GroupView:
    """A group with its offered tools, and its finished answer to tools/list."""

    entry: GroupEntry
    tools: dict[str, OfferedTool]
    listing: list[dict[str, Any]]
    fingerprint: bytes


class Catalogue:
    """One consistent state of all groups; a new one is built when anything changes."""

    def __init__(self, registry: Registry, toolbox: Toolbox, *, trying: UUID | None = None) -> None:
        """Build it. `trying` names a tool that is offered although it or its group is disabled: an administrator tries it."""
        self._registry = registry
        self._trying = trying
        self.problems: dict[UUID, str] = {}
        self.groups: dict[UUID, GroupView] = {
            group_id: self._view(group, toolbox) for group_id, group in registry.groups.items()
        }

    def group_of_key(self, key_hash: bytes) -> GroupEntry | None:
        """Return the group this key opens, disabled or not; None for an unknown or expired key."""
        group = self._registry.groups_by_key.get(key_hash)
        if group is None or not hmac.compare_digest(group.key_hash, key_hash):
            return None
        if group.key_expires_at is not None and group.key_expires_at <= utc_now():
            return None
        return group

    def is_open(self, group_id: UUID, key_hash: bytes) -> bool:
        """Tell whether a client that came in with this key is still let in."""
        group = self.group_of_key(key_hash)
        return group is not None and group.id == group_id and group.enabled

    def reason_unoffered(self, group_id: UUID, name: str) -> CallOutcome:
        """Tell why a group does not offer a tool: for our log only, the wire says the same of all."""
        if name in self._registry.tools.get(group_id, {}):
            return CallOutcome.DISABLED_TOOL
        return CallOutcome.FOREIGN_TOOL if name in self._registry.names else CallOutcome.UNKNOWN_TOOL

    def log_problems(self, before: "Catalogue | None") -> None:
        """Say which tools cannot be offered, as far as that is new."""
        known = before.problems if before is not None else {}
        for of_group in self._registry.tools.values():
            for entry in of_group.values():
                problem = self.problems.get(entry.id)
                if problem is not None and problem != known.get(entry.id):
                    log.warning(log_events.MCP_TOOL_DROPPED, tool=entry.name, problem=problem)

    def _view(self, group: GroupEntry, toolbox: Toolbox) -> GroupView:
        tools: dict[str, OfferedTool] = {}
        for name, entry in sorted(self._registry.tools.get(group.id, {}).items()):
            function = toolbox.get(name)
            problem = entry.problem or ("no function of this name" if function is None else None)
            if problem is not None:
                self.problems[entry.id] = problem
            elif (entry.enabled or entry.id == self._trying) and function is not None:
                tools[name] = _offer(entry, function)
        if any(offered.entry.id == self._trying for offered in tools.values()):
            group = replace(group, enabled=True, accepts_user_ids=True)
        listing = [_listed(offered) for offered in tools.values()]
        return GroupView(group, tools, listing, hashlib.sha256(orjson.dumps(listing)).digest())


def _offer(entry: ToolEntry, function: ToolFunction) -> OfferedTool:
    validator = tool_schemas.argument_validator(entry.input_schema) if entry.input_schema is not None else None
    return OfferedTool(entry, function, entry.input_schema or function.input_schema, validator)


def _listed(offered: OfferedTool) -> dict[str, Any]:
    tool = Tool(
        name=offered.entry.name,
        description=offered.entry.description or offered.function.description,
        input_schema=offered.input_schema,
        annotations=offered.function.annotations,
    )
    return tool.model_dump(mode="json", by_alias=True, exclude_none=True)


def documentation(function: ToolFunction) -> dict[str, Any]:
    """Return what a function says of itself: the preview of its documentation."""
    return {
        "name": function.name,
        "description": function.description,
        "input_schema": function.input_schema,
        "read_only": bool(function.annotations.read_only_hint),
    }
