"""What may be told about one user (requirement A4.4), read from the user's row."""

from datetime import datetime, timedelta
from typing import Any

from core.clock import utc_now
from models import User
from services.mcp_work import CallContext

NEW_FOR = timedelta(hours=24)
ROLE_PRECEDENCE = ("admin", "consultant", "doctor", "operator", "customer")


def primary_role(user: User) -> str:
    """Return the user's own default role, else the first of their roles by precedence; `customer` where there is none."""
    if user.primary_role:
        return user.primary_role
    return next((role for role in ROLE_PRECEDENCE if role in user.roles), user.roles[0] if user.roles else "customer")


def profile_of(user: User, user_id: str, *, include_details: bool, now: datetime) -> dict[str, Any]:
    """Return the profile under the id the caller knows the user by: who holds a handle is not told more than that."""
    profile: dict[str, Any] = {
        "user_id": user_id,
        "username": user.username,
        "email": user.email,
        "roles": user.roles,
        "is_active": user.is_active,
        "registration_time": user.registered_at.isoformat(),
        "is_new_user": now - user.registered_at < NEW_FOR,
        "primary_role": primary_role(user),
        "source": user.source,
        "locale": user.locale,
        "interests": user.interests,
    }
    if include_details:
        profile |= {"phone": user.phone, "avatar": user.avatar, "last_updated": user.updated_at.isoformat()}
    return profile


def get_user_profile(context: CallContext, user_id: str, *, include_details: bool = False) -> dict[str, Any]:
    """Return the profile of the user the handle or id names; raise NotFoundError (USER_NOT_FOUND)."""
    with context.session() as session:
        user = context.user(session, user_id)
    return profile_of(user, user_id, include_details=include_details, now=utc_now())
