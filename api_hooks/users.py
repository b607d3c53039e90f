"""People: listed, made and changed by an administrator."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api_hooks.auth import Origin, require
from api_hooks.fields import LIMIT_DEFAULT, Cursor, Input, Limit, RequiredText, Reveal, Text, cursor_of, read_cursor
from api_hooks.responses import Envelope, Page
from core.errors import InvalidInputError
from services import masking, persons, reveal, users
from services.auth import Identity
from services.permissions import Permission, Role
from services.users import StaffChange

router = APIRouter(prefix="/users", tags=["users"])

Manager = Annotated[Identity, Depends(require(Permission.MANAGE_USERS))]
Keeper = Annotated[Identity, Depends(require(Permission.EXPORT_AND_ERASE))]
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
    erased_at: datetime | None


class ExportOut(BaseModel):
    """Rows by table, as the record holds them."""

    user_id: UUID
    tables: dict[str, list[dict[str, Any]]]


class Erase(Input):
    reason: RequiredText
    confirm: Annotated[UUID, Field(description="The user's id once more: nothing brings an erased person back.")]


class ErasedOut(BaseModel):
    user_id: UUID
    rows: dict[str, int] = Field(description="How many rows of each table no longer say who it was, or are gone.")


@router.get("", summary="List users, newest first")
def list_users(
    who: Manager,
    origin: Origin,
    role: Annotated[Text | None, Query(description="Only those with this role.")] = None,
    search: Annotated[Text | None, Query(description="The name's beginning, or a user_id.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    revealed: Reveal = False,
) -> Envelope[Page[UserOut]]:
    """Answer staff and customers, these with their names masked; never a password's hash."""
    found = users.list_users(role=role, search=search, before=read_cursor(cursor), limit=limit + 1)
    shown = reveal.shows(who, [f"user:{user.id}" for user in found[:limit]], asked=revealed, origin=origin)
    items = [UserOut.model_validate(masking.user(user, shown=shown)) for user in found[:limit]]
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


@router.get("/{user_id}/export", summary="Everything there is of one person")
def export_user(user_id: UUID, who: Keeper, origin: Origin, response: Response) -> Envelope[ExportOut]:
    """Answer it to be handed to them (GDPR article 15, PIPL article 45). Audited."""
    found = persons.export(user_id, actor=who.actor, origin=origin)
    response.headers["Cache-Control"] = "no-store"
    return Envelope(data=ExportOut(user_id=found.user_id, tables=found.tables))


@router.post("/{user_id}/erase", summary="Erase who a customer is from everything")
def erase_user(user_id: UUID, body: Erase, who: Keeper, origin: Origin) -> Envelope[ErasedOut]:
    """Erase the person; figures stay, as somebody's. Idempotent. 409 NOT_A_CUSTOMER for staff, who are switched off instead."""
    if body.confirm != user_id:
        raise InvalidInputError("confirm: must be the id of the user who is to be erased")
    done = persons.erase(user_id, actor=who.actor, reason=body.reason, origin=origin)
    return Envelope(data=ErasedOut(user_id=done.user_id, rows=done.rows), message="erased")
