"""Whether the MCP server can work, and what an administrator sees of it."""

from typing import Any

from sqlalchemy.exc import ProgrammingError

from core.database import unit_of_work
from core.errors import PermanentError
from core.settings import get_settings
from queries import mcp_status as queries
from services import mcp_registry, mcp_settings

TRANSPORTS = ("streamable-http", "sse", "stdio")


def check_database() -> None:
    """Raise DatabaseUnavailableError, or PermanentError where the migrations have not run."""
    try:
        with unit_of_work() as session:
            queries.check_schema(session)
    except ProgrammingError:
        raise PermanentError("the database is not migrated", code="NOT_MIGRATED") from None


def describe() -> dict[str, Any]:
    """Return what is configured and offered, and since the beginning called; raise DatabaseUnavailableError."""
    registry, settings, bootstrap = mcp_registry.current(), mcp_settings.current(), get_settings()
    with unit_of_work() as session:
        calls, errors, last_call_at = queries.call_summary(session)
    tools = [tool for of_group in registry.tools.values() for tool in of_group.values()]
    return {
        "enabled": settings.enabled,
        "url": bootstrap.running().get("mcp_url") or f"http://{bootstrap.bind}:{bootstrap.mcp_port}/mcp",
        "transports": [name for name in TRANSPORTS if name != "sse" or settings.sse_enabled],
        "mounted_on_api": settings.mount_on_api,
        "settings_version": mcp_settings.current_version(),
        "groups": {"total": len(registry.groups), "enabled": sum(g.enabled for g in registry.groups.values())},
        "tools": {
            "total": len(tools),
            "available": len(registry.available),
            "faulty": sum(tool.problem is not None for tool in tools),
        },
        "calls": {"total": calls, "errors": errors, "last_call_at": last_call_at},
    }
