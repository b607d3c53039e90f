"""The frame a tool works in: whose call it is, whom it may be about, and a database session that can be cut off."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy.orm import Session

from core.database import unit_of_work
from core.errors import NotAllowedError, NotFoundError, TransientError
from core.ids import HANDLE_PREFIX
from models import User
from queries import subjects
from services.mcp_registry import GroupEntry

CANCEL_TIMEOUT_SECONDS = 2.0
STAFF_ROLES = frozenset({"admin", "operator", "doctor", "consultant"})
INTERNAL, EXTERNAL = "internal", "external"


class ToolTimeoutError(TransientError):
    """The call's time is up; its statements are cancelled."""

    code = "TOOL_TIMEOUT"


@dataclass
class CallContext:
    """One call. Tools get it as their first argument and do all database work through `session`."""

    group: GroupEntry
    # The user on whose behalf the client acts, where it said so: a journey handle, or a user id where the group takes them.
    acting_for: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    journey_id: UUID | None = None
    _actor: User | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _running: Any = field(default=None, repr=False)
    _cancelled: bool = False

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a transaction whose statements `cancel` stops. Raise ToolTimeoutError once the call was cancelled."""
        self._refuse_if_cancelled()
        with unit_of_work() as session:
            connection = session.connection().connection.driver_connection
            with self._lock:
                self._running = connection
            try:
                self._refuse_if_cancelled()
                self._check_actor(session)
                yield session
                # A call that was given up must not take effect afterwards.
                self._refuse_if_cancelled()
            finally:
                with self._lock:
                    self._running = None

    def cancel(self) -> None:
        """Stop the statement that is running, and let no further one begin. Safe from any thread, and more than once."""
        with self._lock:
            self._cancelled = True
            if isinstance(self._running, psycopg.Connection):
                self._running.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)

    def user(self, session: Session, reference: str) -> User:
        """Return the user the reference names; raise NotFoundError (USER_NOT_FOUND), alike for whatever reason.

        A handle names its journey's customer while it is valid, and ties the call to that journey. A plain user id
        counts only in groups that accept them.
        """
        if reference.startswith(HANDLE_PREFIX):
            return self._holder_of(session, reference)
        user = subjects.find_by_user_id(session, reference) if self.group.accepts_user_ids else None
        if user is None:
            raise _user_not_found()
        return user

    @property
    def actor(self) -> User | None:
        """The acting user, known once a session is open."""
        return self._actor

    def _holder_of(self, session: Session, handle: str) -> User:
        holder = subjects.find_by_handle(session, handle)
        if holder is None:
            raise _user_not_found()
        # Noted for an expired handle too: the call log then shows which journey came too late.
        self.journey_id = holder.journey_id
        if not holder.valid:
            raise _user_not_found()
        # A handle means that the client talks with this customer: it acts for them.
        check_served(self.group, holder.user)
        return holder.user

    def _check_actor(self, session: Session) -> None:
        if self.acting_for is None or self._actor is not None:
            return
        actor = self.user(session, self.acting_for)
        if not actor.is_active:
            raise NotAllowedError("the acting user is not active", code="USER_INACTIVE")
        check_served(self.group, actor)
        self._actor = actor

    def _refuse_if_cancelled(self) -> None:
        if self._cancelled:
            raise ToolTimeoutError("the call took too long and was cancelled")


def check_served(group: GroupEntry, user: User) -> None:
    """Raise NotAllowedError unless the group serves users of this user's tier and roles."""
    roles = set(user.roles) | ({user.primary_role} if user.primary_role else set())
    tier = INTERNAL if roles & STAFF_ROLES else EXTERNAL
    if group.tiers and tier not in group.tiers:
        raise NotAllowedError(f"these tools do not serve {tier} users", code="TIER_NOT_ALLOWED")
    if group.roles and not roles & group.roles:
        raise NotAllowedError("these tools do not serve users of this role", code="ROLE_NOT_ALLOWED")


def _user_not_found() -> NotFoundError:
    return NotFoundError("User not found", code="USER_NOT_FOUND")
