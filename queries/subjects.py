"""Whom a tool is asked about: users by journey handle or by id."""

import contextlib
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from models import Journey, User


class HandleHolder(NamedTuple):
    """The journey a handle was given out for, its user, and whether the handle is still good by the database's clock."""

    user: User
    journey_id: UUID
    valid: bool


def find_by_handle(session: Session, handle: str) -> HandleHolder | None:
    row = session.execute(
        select(User, Journey.id, func.coalesce(Journey.handle_expires_at > func.now(), False))
        .join(Journey, Journey.user_id == User.id)
        .where(Journey.handle == handle)
    ).one_or_none()
    return HandleHolder(row[0], row[1], row[2]) if row is not None else None


def find_by_user_id(session: Session, user_id: str) -> User | None:
    """Return the user whose external id, or else whose own id, this is."""
    matches = [User.external_id == user_id]
    with contextlib.suppress(ValueError):
        matches.append(User.id == UUID(user_id))
    found = list(session.scalars(select(User).where(or_(*matches)).limit(2)))
    # Where one user's external id is another's own id, the outside's name wins.
    return next((user for user in found if user.external_id == user_id), found[0] if found else None)


_LEND_HANDLE = text("""
UPDATE journeys SET handle = coalesce(handle, :handle),
    handle_expires_at = greatest(handle_expires_at, now() + make_interval(secs => :seconds))
WHERE id = (SELECT id FROM journeys WHERE user_id = :user_id ORDER BY id DESC LIMIT 1)
RETURNING handle
""")


def lend_handle(session: Session, user_id: UUID, handle: str, *, seconds: float) -> str | None:
    """Let the handle of the user's latest journey (this one, where it has none) be good for so long; None without a journey.

    A handle stays the same: providers know the customer by it.
    """
    lent = session.execute(_LEND_HANDLE, {"user_id": user_id, "handle": handle, "seconds": seconds})
    found: str | None = lent.scalar_one_or_none()
    return found
