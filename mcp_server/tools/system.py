"""Tools for administrators: settings, and going back to earlier ones."""

from typing import Annotated, Any, Literal

from pydantic import Field

from mcp_server.toolkit import Toolbox, tool
from services import system_tools
from services.mcp_work import CallContext

TOOLS: Toolbox = {}

Family = Literal["registration-automation", "mcp"]


@tool(TOOLS)
def system_config(
    context: CallContext,
    family: Annotated[Family | None, Field(description="Which settings; leave out for all")] = None,
) -> dict[str, Any]:
    """Get the settings in force with their versions. They hold no secrets."""
    return system_tools.system_config(context, family)


@tool(TOOLS, read_only=False)
def backup_restore(
    context: CallContext,
    action: Annotated[Literal["status", "versions", "restore"], Field(description="What to do")] = "status",
    family: Annotated[
        Family, Field(description="For versions and restore: which settings")
    ] = "registration-automation",
    version: Annotated[int, Field(ge=1, description="For restore: the version to put into force again")] = 1,
) -> dict[str, Any]:
    """See how well the data is backed up, list earlier settings, or restore one of them.

    status: the database's size and the state of its archive (backups of data are made outside of this server). versions:
    the stored versions of some settings. restore: put one into force again, on behalf of the administrator named in the
    X-Acting-User header.
    """
    if action == "status":
        return system_tools.backup_status(context)
    if action == "versions":
        return system_tools.list_versions(context, family)
    return system_tools.restore_settings(context, family, version)
