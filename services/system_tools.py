"""Administration through MCP: users, settings, and going back to earlier settings. Changes need an acting administrator."""

from datetime import UTC, datetime
from typing import Any

from core.errors import InvalidInputError, NotAllowedError, NotFoundError
from models import SettingsVersion, User
from queries import business, mcp_status
from services import audit, automation, mcp_settings
from services.mcp_work import CallContext
from services.profiles import primary_role
from services.settings_family import SettingsFamily

FAMILIES: dict[str, SettingsFamily[Any]] = {automation.NAME: automation.FAMILY, mcp_settings.NAME: mcp_settings.FAMILY}
MAX_FOUND = 20


def user_summary(context: CallContext) -> dict[str, Any]:
    """Return how many users there are, by role."""
    with context.session() as session:
        epoch = datetime.fromtimestamp(0, UTC)
        return {"users": business.count_registrations(session, epoch), "by_role": business.users_by_role(session)}


def find_users(context: CallContext, text: str) -> dict[str, Any]:
    """Return users whose name or id begins with the text, newest first."""
    with context.session() as session:
        found = business.search_users(session, text, MAX_FOUND)
    return {"users": [_brief(user) for user in found], "more": len(found) == MAX_FOUND}


def set_active(context: CallContext, user_id: str, *, active: bool) -> dict[str, Any]:
    """Activate or deactivate a user, on behalf of an acting administrator."""
    with context.session() as session:
        actor = _acting_admin(context)
        user = context.user(session, user_id)
        if user.id == actor.id:
            raise InvalidInputError("an administrator cannot deactivate themselves")
        before, user.is_active = user.is_active, active
        audit.record(
            session,
            actor=actor.username,
            action="user.activated" if active else "user.deactivated",
            subject=f"user:{user.id}",
            before={"is_active": before},
            after={"is_active": active},
            origin=f"mcp:{context.group.name}",
        )
    return _brief(user)


def system_config(context: CallContext, family: str | None) -> dict[str, Any]:
    """Return the settings in force with their versions, of one family or all. They hold no secrets."""
    # No query is needed, but who is acting is still checked.
    with context.session():
        families = {family: _family(family)} if family else FAMILIES
    return {
        name: {"version": one.current_version(), "values": one.current().model_dump(mode="json")}
        for name, one in families.items()
    }


def backup_status(context: CallContext) -> dict[str, Any]:
    """Return the size of the database, and when its write-ahead log was last archived: without that there is no backup."""
    with context.session() as session:
        archive = mcp_status.archiving(session)
        return {"database_size_bytes": mcp_status.database_size_bytes(session)} | archive


def list_versions(context: CallContext, family: str) -> dict[str, Any]:
    """Return the stored versions of a family of settings, newest first."""
    _family(family)
    with context.session() as session:
        found = mcp_status.list_settings_versions(session, family, MAX_FOUND)
    return {"family": family, "versions": [_version(one) for one in found]}


def restore_settings(context: CallContext, family: str, version: int) -> dict[str, Any]:
    """Put an earlier version of the settings into force again, as a new version, for an acting administrator."""
    chosen = _family(family)
    with context.session() as session:
        actor = _acting_admin(context)
        stored = mcp_status.find_settings_version(session, family, version)
        if stored is None:
            raise NotFoundError(f"there is no version {version} of {family}", code="VERSION_NOT_FOUND")
        data = stored.data
    written = chosen.change(data, actor=actor.username, reason=f"restored version {version} through MCP")
    return {"family": family, "restored_version": version, "version": written.version}


def _acting_admin(context: CallContext) -> User:
    actor = context.actor
    if actor is None or "admin" not in {*actor.roles, actor.primary_role}:
        raise NotAllowedError("this needs an acting administrator (X-Acting-User)", code="ADMIN_REQUIRED")
    return actor


def _family(name: str) -> SettingsFamily[Any]:
    if name not in FAMILIES:
        raise InvalidInputError(f"settings are: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _brief(user: User) -> dict[str, Any]:
    return {
        "user_id": user.external_id or str(user.id),
        "username": user.username,
        "primary_role": primary_role(user),
        "roles": user.roles,
        "is_active": user.is_active,
        "registered_at": user.registered_at.isoformat(),
    }


def _version(stored: SettingsVersion) -> dict[str, Any]:
    return {
        "version": stored.version,
        "created_at": stored.created_at.isoformat(),
        "created_by": stored.created_by,
        "reason": stored.reason,
    }
