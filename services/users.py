"""People who sign in: listed, made and changed by an administrator. Every change is audited."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from clients import fanout
from core.clock import utc_now
from core.database import unit_of_work
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.ids import new_id
from core.passwords import hash_password
from models import Consultant, User
from queries import auth as auth_queries
from queries import users as queries
from services import audit
from services.permissions import STAFF, Role

SHORTEST_PASSWORD = 10


def create_staff_user(
    username: str,
    password: SecretStr,
    roles: Sequence[Role],
    *,
    actor: str,
    display_name: str | None = None,
    origin: str | None = None,
) -> User:
    """Create a user who signs in; a consultant gets their own row, under the display name.

    Raises ConflictError when the name is taken, InvalidInputError for a short password or roles that are none of staff's.
    """
    wanted = _checked_roles(roles)
    _check_password(password)
    hashed = hash_password(password)
    try:
        with unit_of_work() as session:
            return add_staff_user(
                session, username, hashed, wanted, actor=actor, display_name=display_name, origin=origin
            )
    except IntegrityError:
        raise ConflictError("this name is taken", code="USERNAME_TAKEN") from None


def add_staff_user(
    session: Session,
    username: str,
    password_hash: str,
    roles: Sequence[Role | str],
    *,
    actor: str,
    display_name: str | None = None,
    origin: str | None = None,
) -> User:
    """Add a user who signs in to the caller's transaction; raise IntegrityError when the name is taken."""
    wanted = _checked_roles([Role(role) for role in roles])
    user = User(
        id=new_id(),
        username=username,
        password_hash=password_hash,
        roles=wanted,
        primary_role=wanted[0],
        registered_at=utc_now(),
    )
    session.add(user)
    session.flush()
    if Role.CONSULTANT in wanted:
        session.add(Consultant(user_id=user.id, display_name=display_name or username))
    after = {"roles": wanted}
    audit.record(session, actor=actor, action="user.create", subject=f"user:{user.id}", after=after, origin=origin)
    session.flush()
    session.refresh(user)
    return user


@dataclass(frozen=True, slots=True)
class StaffChange:
    """What is to change about somebody who signs in; None leaves it as it is."""

    password: SecretStr | None = None
    roles: Sequence[Role] | None = None
    is_active: bool | None = None
    display_name: str | None = None


def change_staff_user(user_id: UUID, change: StaffChange, *, actor: str, origin: str | None = None) -> User:
    """Change a member of staff; a new password, other roles or being switched off end all their sessions at once.

    Raises NotFoundError, InvalidInputError, and ConflictError when no active administrator would be left.
    """
    if change.password is not None:
        _check_password(change.password)
    hashed = hash_password(change.password) if change.password is not None else None
    with unit_of_work() as session:
        user = auth_queries.lock_staff_user(session, user_id)
        if user is None:
            raise NotFoundError("no such member of staff", code="USER_NOT_FOUND")
        before = _audited(user)
        if hashed is not None:
            user.password_hash = hashed
        if change.roles is not None:
            user.roles = _checked_roles(change.roles)
            user.primary_role = user.roles[0]
        if change.is_active is not None:
            user.is_active = change.is_active
        user.updated_at = utc_now()
        session.flush()
        _set_consultant(session, user, change.display_name)
        if auth_queries.count_administrators(session) == 0:
            raise ConflictError("nobody would be left to administer", code="LAST_ADMINISTRATOR")
        after = _audited(user) | ({"password": "changed"} if hashed else {})
        audit.record(
            session,
            actor=actor,
            action="user.change",
            subject=f"user:{user.id}",
            before=before,
            after=after,
            origin=origin,
        )
        ends = hashed is not None or change.roles is not None or change.is_active is False
        ended = auth_queries.revoke_sessions_of(session, user.id, "account changed") if ends else []
        session.refresh(user)
    for session_id in ended:
        fanout.announce_session_end(str(session_id))
    return user


def get(user_id: UUID) -> User:
    """Return the user; raise NotFoundError."""
    with unit_of_work() as session:
        return queries.get_user(session, user_id)


def list_users(*, role: str | None, search: str | None, before: UUID | None, limit: int) -> Sequence[User]:
    """Return users, newest first."""
    with unit_of_work() as session:
        return queries.list_users(session, role=role, search=search, before=before, limit=limit)


def _set_consultant(session: Session, user: User, display_name: str | None) -> None:
    """Keep the consultant's row in step with the role: made with it, switched off without it, never deleted."""
    consultant = queries.find_consultant_of(session, user.id)
    is_consultant = Role.CONSULTANT in user.roles and user.is_active
    if consultant is None:
        if is_consultant:
            session.add(Consultant(user_id=user.id, display_name=display_name or user.username))
        return
    consultant.enabled = is_consultant
    if display_name:
        consultant.display_name = display_name


def _checked_roles(roles: Sequence[Role]) -> list[str]:
    wanted = sorted({Role(role) for role in roles})
    if not wanted or not STAFF.issuperset(wanted):
        raise InvalidInputError(f"roles: one or more of {', '.join(sorted(STAFF))}")
    return [role.value for role in wanted]


def _check_password(password: SecretStr) -> None:
    if len(password.get_secret_value()) < SHORTEST_PASSWORD:
        raise InvalidInputError(f"password: at least {SHORTEST_PASSWORD} characters")


def _audited(user: User) -> dict[str, Any]:
    return {"roles": list(user.roles), "is_active": user.is_active}
