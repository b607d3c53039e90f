"""Tools about the user a conversation is with."""

from typing import Annotated, Any

from pydantic import Field

from mcp_server.toolkit import Toolbox, tool
from services import profiles
from services.mcp_work import CallContext

TOOLS: Toolbox = {}

UserId = Annotated[
    str,
    Field(min_length=1, max_length=200, description="The customer's identifier, exactly as it was given to you"),
]


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
