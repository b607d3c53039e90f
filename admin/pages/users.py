"""People: staff made and changed, customers found."""

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.responses import Response
from pydantic import SecretStr

from admin.forms import choice, identifier, query_without, storable
from admin.web import Visit, pages, redirect, signed_in, status_of
from core.errors import AnmeiError, InvalidInputError
from services import masking, persons, reveal, users
from services.permissions import STAFF, Permission, Role
from services.users import StaffChange

router = pages("/users")

Manager = Annotated[Visit, Depends(signed_in(Permission.MANAGE_USERS))]
Keeper = Annotated[Visit, Depends(signed_in(Permission.EXPORT_AND_ERASE))]
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
    return _page(visit, user_id)


@router.post("/{user_id}/reveal")
def show_revealed(user_id: UUID, visit: Manager) -> Response:
    """Show who a customer is, this once; who looked is audited."""
    users.get(user_id)
    reveal.shows(visit.who, [f"user:{user_id}"], asked=True, origin=visit.origin)
    return _page(visit, user_id, shown=True)


@router.post("/{user_id}/export")
def export(user_id: UUID, visit: Keeper) -> Response:
    """Hand out everything there is of one person, as a file of JSON."""
    found = persons.export(user_id, actor=visit.actor, origin=visit.origin)
    body = json.dumps({"user_id": str(found.user_id), "tables": found.tables}, ensure_ascii=False, indent=2)
    headers = {"Content-Disposition": f'attachment; filename="person-{user_id}.json"', "Cache-Control": "no-store"}
    return Response(body, media_type="application/json", headers=headers)


@router.post("/{user_id}/erase")
def erase(user_id: UUID, visit: Keeper) -> Response:
    """Ask first, then erase for good."""
    reason = visit.form.line("reason")[:LONGEST]
    if not visit.form.flag("confirmed"):
        return visit.page("user_erase.html", user=masking.user(users.get(user_id), shown=False), reason=reason)
    try:
        if not reason:
            raise InvalidInputError(visit.gettext("A reason is needed: who looks at this later must understand it."))
        persons.erase(user_id, actor=visit.actor, reason=reason, origin=visit.origin)
    except AnmeiError as error:
        if status_of(error) == 500:
            raise
        return _page(visit, user_id, status=status_of(error), problem=visit.explain(error))
    return redirect(f"/admin/users/{user_id}", done="user-erased")


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
        return _page(visit, user_id, status=status_of(error), problem=visit.explain(error))
    return redirect(f"/admin/users/{user_id}", done="user-changed")


def _page(
    visit: Visit, user_id: UUID, *, status: int = 200, problem: str | None = None, shown: bool = False
) -> Response:
    user = users.get(user_id)
    is_customer = user.password_hash is None and user.external_id is not None
    revealed, shown = shown, shown or masking.sees_customers(visit.who)
    return visit.page(
        "user.html",
        status=status,
        user=masking.user(user, shown=shown),
        roles=sorted(STAFF),
        problem=problem,
        may_keep=visit.may(Permission.EXPORT_AND_ERASE),
        may_reveal=is_customer and not shown and visit.may(Permission.REVEAL_PERSONAL_DATA),
        revealed=revealed,
    )


def _list(visit: Visit, *, status: int = 200, problem: str | None = None) -> Response:
    query = visit.query
    role = choice(Role, query.get("role"))
    before, search = identifier(query.get("before")), storable(query.get("search"))
    found = users.list_users(role=role, search=search, before=before, limit=SHOWN + 1)
    shown = masking.sees_customers(visit.who)
    rows: list[Any] = [masking.user(user, shown=shown) for user in found[:SHOWN]]
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
