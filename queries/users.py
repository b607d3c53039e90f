"""Reads of people."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from models import Consultant, User


def get_user(session: Session, user_id: UUID) -> User:
    """Return the user; raise NotFoundError."""
    found = session.get(User, user_id)
    if found is None:
        raise NotFoundError("no such user", code="USER_NOT_FOUND")
    return found


def find_customer(session: Session, customer: str) -> User | None:
    """Return the active customer by the signup service's `user_id`, or else by our id."""
    found = session.scalars(select(User).where(User.external_id == customer)).one_or_none()
    if found is None:
        try:
            found = session.get(User, UUID(customer))
        except ValueError:
            return None
    return found if found is not None and found.external_id is not None and found.is_active else None


def list_users(
    session: Session, *, role: str | None, search: str | None, before: UUID | None, limit: int
) -> Sequence[User]:
    """Return users, newest first; `search` is the beginning of a name, or a whole `user_id`."""
    query = select(User).order_by(User.id.desc()).limit(limit)
    if role is not None:
        query = query.where(User.roles.contains([role]))
    if search:
        query = query.where(User.username.startswith(search, autoescape=True) | (User.external_id == search))
    if before is not None:
        query = query.where(User.id < before)
    return session.scalars(query).all()


def find_consultant_of(session: Session, user_id: UUID) -> Consultant | None:
    """Return the user's consultant row, enabled or not."""
    return session.scalars(select(Consultant).where(Consultant.user_id == user_id)).one_or_none()
