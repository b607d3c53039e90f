"""Tool groups and their keys: create, change, show and regenerate. Every change is audited and in force at once."""

import secrets
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, model_validator
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import crypto
from core.clock import utc_now
from core.database import unit_of_work
from core.errors import ConflictError
from core.storable import storable
from models import ToolGroup
from queries import mcp_groups as queries
from services import audit, mcp_registry, tool_schemas

KEY_PREFIX = "mcp_key_"

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Tier = Annotated[str, Field(pattern=r"^(internal|external)$")]
Role = Annotated[str, Field(min_length=1, max_length=64)]


class GroupChange(BaseModel):
    """The fields of a group an administrator may set; on a change, only those given are touched."""

    model_config = ConfigDict(extra="forbid")

    description: Annotated[str, Field(max_length=tool_schemas.MAX_DESCRIPTION_CHARACTERS)] = ""
    enabled: bool = True
    user_tier_access: Annotated[list[Tier], Field(max_length=2)] = []
    allowed_roles: Annotated[list[Role], Field(max_length=50)] = []
    accepts_user_ids: bool = False
    key_expires_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _can_be_stored(self) -> Self:
        storable(self.model_dump())
        return self


class NewGroup(GroupChange):
    name: Name


def new_key() -> SecretStr:
    """Return a key: the prefix by which leaked ones are found, and 256 random bits."""
    return SecretStr(KEY_PREFIX + secrets.token_urlsafe(32))


def list_groups() -> list[ToolGroup]:
    with unit_of_work() as session:
        return queries.list_groups(session)


def get(group_id: UUID) -> ToolGroup:
    """Return the group; raise NotFoundError."""
    with unit_of_work() as session:
        return queries.get_group(session, group_id)


def create(new: NewGroup, *, actor: str, origin: str | None = None) -> tuple[ToolGroup, SecretStr]:
    """Create the group and its key; raise ConflictError when the name is taken."""
    key = new_key()
    group = ToolGroup(
        **new.model_dump(), key_hash=crypto.lookup_hash(key), key_encrypted=crypto.encrypt(key), created_by=actor
    )
    try:
        with unit_of_work() as session:
            session.add(group)
            session.flush()
            _audit(session, actor, origin, "mcp_group.created", group, after=describe(group))
            session.refresh(group)
    except IntegrityError:
        raise ConflictError(f"a tool group named {new.name!r} exists already", code="MCP_GROUP_EXISTS") from None
    mcp_registry.reload()
    return group, key


def change(group_id: UUID, changed: GroupChange, *, actor: str, origin: str | None = None) -> ToolGroup:
    """Set the given fields; raise NotFoundError. Disabling a group refuses its key and ends its open streams."""
    with unit_of_work() as session:
        group = queries.lock_group(session, group_id)
        before = describe(group)
        for name in changed.model_fields_set:
            setattr(group, name, getattr(changed, name))
        group.updated_at = utc_now()
        _audit(session, actor, origin, "mcp_group.changed", group, before=before, after=describe(group))
    mcp_registry.reload()
    return group


def delete(group_id: UUID, *, actor: str, origin: str | None = None) -> None:
    """Delete the group with its tools' assignments; its calls stay in the log. Raise NotFoundError."""
    with unit_of_work() as session:
        group = queries.lock_group(session, group_id)
        _audit(session, actor, origin, "mcp_group.deleted", group, before=describe(group))
        session.delete(group)
    mcp_registry.reload()


def regenerate_key(
    group_id: UUID, *, actor: str, expires_at: datetime | None = None, origin: str | None = None
) -> SecretStr:
    """Replace the key and return the new one; the old one stops in every process at once, its open streams end."""
    key = new_key()
    with unit_of_work() as session:
        group = queries.lock_group(session, group_id)
        group.key_hash = crypto.lookup_hash(key)
        group.key_encrypted = crypto.encrypt(key)
        group.key_created_at = group.updated_at = utc_now()
        group.key_expires_at = expires_at
        group.key_last_used_at = None
        _audit(session, actor, origin, "mcp_group.key_regenerated", group)
    mcp_registry.reload()
    return key


def reveal_key(group_name: str, actor: str, *, origin: str | None = None) -> SecretStr:
    """Return the group's key, and write down who asked for it; raise NotFoundError or UndecryptableError."""
    with unit_of_work() as session:
        return _reveal(session, queries.get_group_by_name(session, group_name), actor, origin)


def key_hint(group_name: str) -> str:
    """Return the beginning of the group's key, by which a person tells it from another; raise NotFoundError."""
    with unit_of_work() as session:
        key = crypto.decrypt(queries.get_group_by_name(session, group_name).key_encrypted).get_secret_value()
    return key[: len(KEY_PREFIX) + 4] + "…"


def reveal_key_by_id(group_id: UUID, actor: str, *, origin: str | None = None) -> SecretStr:
    """Do as `reveal_key` does, for the group of this id."""
    with unit_of_work() as session:
        return _reveal(session, queries.get_group(session, group_id), actor, origin)


def describe(group: ToolGroup) -> dict[str, Any]:
    """Return what may be shown of a group; never its key."""
    return {
        "id": str(group.id),
        "name": group.name,
        "description": group.description,
        "enabled": group.enabled,
        "user_tier_access": group.user_tier_access,
        "allowed_roles": group.allowed_roles,
        "accepts_user_ids": group.accepts_user_ids,
        "key_expires_at": _iso(group.key_expires_at),
        "key_created_at": _iso(group.key_created_at),
        "key_last_used_at": _iso(group.key_last_used_at),
        "created_by": group.created_by,
        "created_at": _iso(group.created_at),
        "updated_at": _iso(group.updated_at),
    }


def _reveal(session: Session, group: ToolGroup, actor: str, origin: str | None) -> SecretStr:
    key = crypto.decrypt(group.key_encrypted)
    _audit(session, actor, origin, "mcp_group.key_shown", group)
    return key


def _audit(
    session: Session,
    actor: str,
    origin: str | None,
    action: str,
    group: ToolGroup,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        subject=f"mcp_group:{group.name}",
        before=before,
        after=after,
        origin=origin,
    )


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
