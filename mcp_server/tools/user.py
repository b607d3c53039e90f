"""Tools about users: the profile of the customer a conversation is with, and the administration of users."""

from typing import Annotated, Any, Literal

from pydantic import Field

from core.errors import InvalidInputError
from mcp_server.toolkit import Toolbox, tool
from mcp_server.tools.arguments import UserId
from services import profiles, system_tools
from services.mcp_work import CallContext

TOOLS: Toolbox = {}


@tool(TOOLS)
def get_user_profile(
    context: CallContext,
    user_id: UserId,
    include_details: Annotated[bool, Field(description="Also return phone, avatar and time of last change")] = False,
) -> dict[str, Any]:
    """Get the profile of a customer, to write something personal for them.

    Returns user_id, username, email, roles, primary_role, is_active, registration_time, is_new_user (registered less than
    24 hours ago), source (where they came from), locale and interests. An unknown or expired user_id is answered with
    error_code USER_NOT_FOUND: write a general text then, and do not try other identifiers.
    """
    return profiles.get_user_profile(context, user_id, include_details=include_details)


@tool(TOOLS, read_only=False)
def user_management(
    context: CallContext,
    action: Annotated[
        Literal["summary", "find", "activate", "deactivate"], Field(description="What to do")
    ] = "summary",
    text: Annotated[str, Field(max_length=200, description="For find: how the name or id begins")] = "",
    user_id: Annotated[str, Field(max_length=200, description="For activate and deactivate: the user's id")] = "",
) -> dict[str, Any]:
    """Count users by role, find users, activate or deactivate one.

    Activating and deactivating are done on behalf of an administrator, whom the client names in the X-Acting-User header;
    both are audited under that name.
    """
    if action == "summary":
        return system_tools.user_summary(context)
    if action == "find":
        return system_tools.find_users(context, _given(text, "text"))
    return system_tools.set_active(context, _given(user_id, "user_id"), active=action == "activate")


def _given(value: str, name: str) -> str:
    if not value:
        raise InvalidInputError(f"{name}: required for this action", code="INVALID_ARGUMENTS")
    return value
