"""People: listed, made and changed by an administrator."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api_hooks.auth import Origin, require
from api_hooks.fields import LIMIT_DEFAULT, Cursor, Input, Limit, RequiredText, Text, cursor_of, read_cursor
from api_hooks.responses import Envelope, Page
from services import users
from services.auth import Identity
from services.permissions import Permission, Role
from services.users import StaffChange

router = APIRouter(prefix="/users", tags=["users"])

Manager = Annotated[Identity, Depends(require(Permission.MANAGE_USERS))]
NewPassword = Annotated[SecretStr, Field(min_length=users.SHORTEST_PASSWORD, max_length=200)]
StaffRole = Annotated[Role, Field(description="admin, operator or consultant")]


class NewUser(Input):
    username: RequiredText
    password: NewPassword
    roles: Annotated[list[StaffRole], Field(min_length=1, max_length=4)]
    display_name: RequiredText | None = None


class UserChange(Input):
    password: NewPassword | None = None
    roles: Annotated[list[StaffRole], Field(min_length=1, max_length=4)] | None = None
    is_active: bool | None = None
    display_name: RequiredText | None = None


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    external_id: str | None
    username: str
    roles: list[str]
    primary_role: str | None
    locale: str | None
    source: str | None
    is_active: bool
    registered_at: datetime


@router.get("", summary="List users, newest first")
def list_users(
    _: Manager,
    role: Annotated[Text | None, Query(description="Only those with this role.")] = None,
    search: Annotated[Text | None, Query(description="The name's beginning, or a user_id.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Envelope[Page[UserOut]]:
    """Answer staff and customers; never a password's hash."""
    found = users.list_users(role=role, search=search, before=read_cursor(cursor), limit=limit + 1)
    items = [UserOut.model_validate(user) for user in found[:limit]]
    next_cursor = cursor_of(items[-1].id) if len(found) > limit else None
    return Envelope(data=Page(items=items, next_cursor=next_cursor))


@router.post("", status_code=201, summary="Create somebody who signs in")
def create_user(body: NewUser, actor: Manager, origin: Origin) -> Envelope[UserOut]:
    """Create a member of staff; a taken name is 409."""
    user = users.create_staff_user(
        body.username, body.password, body.roles, actor=actor.actor, display_name=body.display_name, origin=origin
    )
    return Envelope(data=UserOut.model_validate(user), message="created")


@router.patch("/{user_id}", summary="Change a member of staff")
def change_user(user_id: UUID, body: UserChange, actor: Manager, origin: Origin) -> Envelope[UserOut]:
    """Change password, roles, display name, or switch the account on and off; their sessions end where that matters."""
    change = StaffChange(body.password, body.roles, body.is_active, body.display_name)
    user = users.change_staff_user(user_id, change, actor=actor.actor, origin=origin)
    return Envelope(data=UserOut.model_validate(user), message="changed")
