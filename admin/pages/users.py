"""People: staff made and changed, customers found."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.responses import Response
from pydantic import SecretStr

from admin.forms import choice, identifier, query_without, storable
from admin.web import Visit, pages, redirect, signed_in, status_of
from core.errors import AnmeiError, InvalidInputError
from services import users
from services.permissions import STAFF, Permission, Role
from services.users import StaffChange

router = pages("/users")

Manager = Annotated[Visit, Depends(signed_in(Permission.MANAGE_USERS))]
SHOWN = 50
LONGEST = 200


@router.get("")
def listed(visit: Manager) -> Response:
    return _list(visit)


@router.post("")
def create(visit: Manager) -> Response:
    form = visit.form
    username = storable(form.text("username"))
    try:
        if username is None:
            raise InvalidInputError(visit.gettext("A name is needed."))
        users.create_staff_user(
            username,
            SecretStr(form.text("password")[:LONGEST]),
            _roles(visit),
            actor=visit.actor,
            display_name=storable(form.text("display_name")),
            origin=visit.origin,
        )
    except AnmeiError as error:
        if status_of(error) == 500:
            raise
        return _list(visit, status=status_of(error), problem=visit.explain(error))
    return redirect("/admin/users", done="user-created", search=username)


@router.get("/{user_id}")
def show(user_id: UUID, visit: Manager) -> Response:
    return visit.page("user.html", user=users.get(user_id), roles=sorted(STAFF), problem=None)


@router.post("/{user_id}")
def change(user_id: UUID, visit: Manager) -> Response:
    """Change roles, name, password or whether they may sign in; what the form leaves empty stays."""
    form = visit.form
    wanted = StaffChange(
        password=SecretStr(form.text("password")[:LONGEST]) if form.text("password") else None,
        roles=_changed_roles(visit, users.get(user_id).roles),
        is_active=form.flag("is_active"),
        display_name=storable(form.text("display_name")),
    )
    try:
        users.change_staff_user(user_id, wanted, actor=visit.actor, origin=visit.origin)
    except AnmeiError as error:
        if status_of(error) == 500:
            raise
        problem = visit.explain(error)
        user = users.get(user_id)
        return visit.page("user.html", status=status_of(error), user=user, roles=sorted(STAFF), problem=problem)
    return redirect(f"/admin/users/{user_id}", done="user-changed")


def _list(visit: Visit, *, status: int = 200, problem: str | None = None) -> Response:
    query = visit.query
    role = choice(Role, query.get("role"))
    before, search = identifier(query.get("before")), storable(query.get("search"))
    found = users.list_users(role=role, search=search, before=before, limit=SHOWN + 1)
    rows: list[Any] = list(found[:SHOWN])
    return visit.page(
        "users.html",
        status=status,
        rows=rows,
        query=query,
        kept=query_without(query, "before", "done"),
        next_before=rows[-1].id if len(found) > SHOWN else None,
        all_roles=list(Role),
        roles=sorted(STAFF),
        problem=problem,
        form=visit.form,
    )


def _roles(visit: Visit) -> list[Role]:
    return [role for value in visit.form.all("roles") if (role := choice(Role, value)) is not None]


def _changed_roles(visit: Visit, present: list[str]) -> list[Role] | None:
    """Return the ticked roles where they differ: naming the same ones again would end the sessions for nothing."""
    ticked = _roles(visit)
    return ticked if set(ticked) != set(present) else None
