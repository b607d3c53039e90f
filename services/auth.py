"""Signing in and out: passwords, sessions, rotating refresh tokens, and who is behind a request."""

import threading
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import func
from sqlalchemy.orm import Session

from clients import fanout
from core import log_events
from core.clock import utc_now
from core.crypto import lookup_hash
from core.database import unit_of_work
from core.errors import NotAllowedError, NotAuthenticatedError, NotFoundError, RateLimitedError
from core.ids import new_id
from core.logging import get_logger
from core.passwords import hash_password, password_fits
from models import AuthSession, RefreshToken, SessionKind, User
from queries import auth as queries
from queries import users as user_queries
from queries.auth import SignedIn
from services import audit, tokens
from services.permissions import STAFF, Permission, Role, allows

log = get_logger(__name__)

# A session nobody refreshes ends after this; each refresh begins it anew.
IDLE_LIFETIME = {
    SessionKind.STAFF: timedelta(days=7),
    SessionKind.CUSTOMER: timedelta(days=30),
    SessionKind.UI: timedelta(hours=12),
}
# Failed sign-ins until the next is held up, by what they are counted for. One name from one address first; a name from many
# addresses, and many names from one address, later, as offices share addresses and strangers must not lock people out easily.
FAILURES_NAME_AND_ORIGIN = 5
FAILURES_NAME = 50
FAILURES_ORIGIN = 100
FAILURE_WINDOW_SECONDS = 15 * 60
LOCK_FIRST_SECONDS = 30
LOCK_LONGEST_SECONDS = 15 * 60
# Each check of a password takes 64 MiB and a core for tens of milliseconds.
CHECKS_AT_ONCE = 4
CHECK_WAIT_SECONDS = 5.0

_checks = threading.BoundedSemaphore(CHECKS_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is behind a request, as things stand now."""

    user_id: UUID
    username: str
    roles: frozenset[Role]
    session_id: UUID
    consultant_id: UUID | None

    @property
    def actor(self) -> str:
        """Name them in the audit log: staff by name, a customer by our id, which says nothing once they are erased."""
        return self.username if not self.roles.isdisjoint(STAFF) else f"{audit.CUSTOMER_PREFIX}{self.user_id}"

    def may(self, permission: Permission) -> bool:
        return allows(permission, self.roles)

    def require(self, permission: Permission) -> None:
        """Raise NotAllowedError unless one of the roles has the permission."""
        if not self.may(permission):
            raise NotAllowedError(f"this needs the permission {permission}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client holds of its session: the access token for some minutes, the refresh token for one use."""

    access_token: SecretStr
    expires_in: int
    refresh_token: SecretStr


def login(username: str, password: SecretStr, *, origin: str) -> Tokens:
    """Sign a member of staff in. Raise NotAuthenticatedError, or RateLimitedError after too many failures."""
    user = check_password(username, password, origin=origin)
    with unit_of_work() as session:
        opened = _open_session(session, user, SessionKind.STAFF, origin=origin)
        granted = _issue(session, opened, user)
        audit.record(session, actor=username, action="auth.login", subject=f"user:{user.id}", origin=origin)
    return granted


def open_ui_session(username: str, password: SecretStr, *, origin: str) -> SecretStr:
    """Sign a browser in and return its cookie's value; raises what `login` raises."""
    user = check_password(username, password, origin=origin)
    cookie = tokens.new_opaque_token()
    with unit_of_work() as session:
        opened = _open_session(session, user, SessionKind.UI, origin=origin)
        opened.cookie_hash = lookup_hash(cookie)
        audit.record(session, actor=username, action="auth.login", subject=f"user:{user.id}", origin=origin)
    return cookie


def open_ui_session_of(user: User, *, origin: str, details: dict[str, Any]) -> SecretStr:
    """Sign in the browser of somebody a provider vouches for and return its cookie's value."""
    cookie = tokens.new_opaque_token()
    with unit_of_work() as session:
        opened = _open_session(session, user, SessionKind.UI, origin=origin)
        opened.cookie_hash = lookup_hash(cookie)
        audit.record(
            session, actor=user.username, action="auth.login", subject=f"user:{user.id}", after=details, origin=origin
        )
    return cookie


def note_link(session: Session, user_id: UUID, *, issuer: str, origin: str) -> None:
    """Write down that a provider's sign-in stands for this user from now on."""
    audit.record(
        session, actor="sign-in", action="auth.link", subject=f"user:{user_id}", after={"issuer": issuer}, origin=origin
    )


def open_customer_session(customer: str, *, minted_by: Identity, origin: str) -> Tokens:
    """Sign a customer in on behalf of the signup service, by our id or its `user_id`; raise NotFoundError.

    The session has a customer's rights only, whatever roles the signup service gave the user. Who holds it reads what the
    customer reads, so it counts as a look at them.
    """
    minted_by.require(Permission.MINT_CUSTOMER_TOKENS)
    with unit_of_work() as session:
        user = user_queries.find_customer(session, customer)
        if user is None:
            raise NotFoundError("no such customer", code="CUSTOMER_NOT_FOUND")
        opened = _open_session(session, user, SessionKind.CUSTOMER, origin=origin)
        granted = _issue(session, opened, user)
        for action in ("auth.customer_token", audit.REVEAL):
            audit.record(session, actor=minted_by.actor, action=action, subject=f"user:{user.id}", origin=origin)
    return granted


def check_password(username: str, password: SecretStr, *, origin: str) -> User:
    """Return the active user whose name and password these are; raise NotAuthenticatedError or RateLimitedError.

    A name nobody has takes as long as a wrong password, and is answered alike.
    """
    name = username.casefold()[:200]
    limits = {
        f"name:{name}@{origin}": FAILURES_NAME_AND_ORIGIN,
        f"name:{name}": FAILURES_NAME,
        f"origin:{origin}": FAILURES_ORIGIN,
    }
    with unit_of_work() as session:
        locked_seconds = _count_attempt(session, limits)
        user = queries.find_login(session, username)
    if locked_seconds is not None:
        log.warning(log_events.LOGIN_LOCKED, username=username, origin=origin)
        raise _locked(locked_seconds)
    if not _fits(user, password) or user is None or not user.is_active:
        log.warning(log_events.LOGIN_REFUSED, username=username, origin=origin)
        raise NotAuthenticatedError("the name or the password is wrong", code="LOGIN_FAILED")
    with unit_of_work() as session:
        queries.forget_attempts(session, [f"name:{name}@{origin}", f"name:{name}"])
    return user


def count_provider_sign_in(*, origin: str) -> None:
    """Count a sign-in that makes us ask a provider, with the address's others; raise RateLimitedError for too many."""
    with unit_of_work() as session:
        locked_seconds = _count_attempt(session, {f"origin:{origin}": FAILURES_ORIGIN})
    if locked_seconds is not None:
        log.warning(log_events.LOGIN_LOCKED, origin=origin)
        raise _locked(locked_seconds)


def refresh(refresh_token: SecretStr) -> Tokens:
    """Exchange a refresh token for new tokens; raise NotAuthenticatedError.

    Each is good for one use. One that comes back was copied: its whole session ends, whoever presented it.
    """
    reused: UUID | None = None
    granted: Tokens | None = None
    with unit_of_work() as session:
        found = queries.lock_refresh_token(session, lookup_hash(refresh_token))
        if found is not None:
            token, family, user = found
            if token.used_at is not None and family.revoked_at is None:
                queries.revoke_session(session, family.id, "refresh token reused")
                reused = family.id
            elif (
                token.used_at is None and family.revoked_at is None and family.expires_at > utc_now() and user.is_active
            ):
                token.used_at = utc_now()
                queries.touch_session(session, family.id, utc_now() + IDLE_LIFETIME[SessionKind(family.kind)])
                granted = _issue(session, family, user)
    if reused is not None:
        log.warning(log_events.REFRESH_REUSED, session_id=str(reused))
        fanout.announce_session_end(str(reused))
    if granted is None:
        raise NotAuthenticatedError("the refresh token does not hold", code="REFRESH_INVALID")
    return granted


def logout(identity: Identity, *, origin: str) -> None:
    """End the session: its tokens stop at once, its sockets are closed. Idempotent."""
    with unit_of_work() as session:
        if queries.revoke_session(session, identity.session_id, "logout"):
            audit.record(
                session, actor=identity.actor, action="auth.logout", subject=f"user:{identity.user_id}", origin=origin
            )
    fanout.announce_session_end(str(identity.session_id))


def end_sessions_of(user_id: UUID, reason: str) -> int:
    """End all sessions of a user, as after a change of password or role; return how many were open."""
    with unit_of_work() as session:
        ended = queries.revoke_sessions_of(session, user_id, reason)
    for session_id in ended:
        fanout.announce_session_end(str(session_id))
    return len(ended)


def identify(access_token: SecretStr) -> Identity:
    """Return who the token's bearer is now; raise NotAuthenticatedError, also when the session was ended since."""
    claimed = tokens.read_access_token(access_token)
    with unit_of_work() as session:
        found = queries.find_signed_in(session, claimed.session_id, claimed.user_id)
    if found is None:
        raise NotAuthenticatedError("the session has ended", code="SESSION_ENDED")
    return as_identity(found)


def identify_browser(cookie: SecretStr, *, in_use: bool = True) -> Identity:
    """Return whose browser it is; raise NotAuthenticatedError. The session lives on by being used.

    With `in_use` False it does not: a page that is left open asks by itself, whether or not anybody sits before it.
    """
    with unit_of_work() as session:
        found = queries.find_by_cookie(session, lookup_hash(cookie))
        if found is not None and in_use:
            queries.touch_session(session, found.session_id, utc_now() + IDLE_LIFETIME[SessionKind.UI])
    if found is None:
        raise NotAuthenticatedError("the session has ended", code="SESSION_ENDED")
    return as_identity(found)


def access_token_for(identity: Identity) -> SecretStr:
    """Return an access token of this session, for a page that opens a socket."""
    return tokens.issue_access_token(identity.user_id, identity.session_id, sorted(identity.roles))


def still_signed_in(session_ids: list[UUID]) -> dict[UUID, Identity]:
    """Return those of the sessions that are good now, with what their users may do now."""
    with unit_of_work() as session:
        return {one.session_id: as_identity(one) for one in queries.list_signed_in(session, session_ids)}


def as_identity(found: SignedIn) -> Identity:
    customer = found.kind == SessionKind.CUSTOMER
    roles = frozenset({Role.CUSTOMER}) if customer else _staff_roles(found.roles)
    return Identity(
        user_id=found.user_id,
        username=found.username,
        roles=roles,
        session_id=found.session_id,
        consultant_id=found.consultant_id if Role.CONSULTANT in roles else None,
    )


def _staff_roles(stored: list[str]) -> frozenset[Role]:
    """Return what a member of staff may be; roles unknown to us, and a customer's, count for nothing."""
    return frozenset(Role(role) for role in stored if role in set(Role) - {Role.CUSTOMER})


def _count_attempt(session: Session, limits: dict[str, int]) -> float | None:
    return queries.count_attempt(
        session,
        limits,
        window_seconds=FAILURE_WINDOW_SECONDS,
        first_seconds=LOCK_FIRST_SECONDS,
        longest_seconds=LOCK_LONGEST_SECONDS,
    )


def _locked(seconds: float) -> RateLimitedError:
    return RateLimitedError("too many failed sign-ins", code="LOGIN_LOCKED", retry_after_seconds=int(seconds) + 1)


def _open_session(session: Session, user: User, kind: SessionKind, *, origin: str) -> AuthSession:
    opened = AuthSession(
        id=new_id(), user_id=user.id, kind=kind, origin=origin, expires_at=utc_now() + IDLE_LIFETIME[kind]
    )
    session.add(opened)
    session.flush()
    return opened


def _issue(session: Session, family: AuthSession, user: User) -> Tokens:
    refresh_token = tokens.new_opaque_token()
    session.add(RefreshToken(session_id=family.id, token_hash=lookup_hash(refresh_token), issued_at=func.now()))
    roles = [Role.CUSTOMER.value] if family.kind == SessionKind.CUSTOMER else sorted(_staff_roles(user.roles))
    return Tokens(
        access_token=tokens.issue_access_token(user.id, family.id, list(roles)),
        expires_in=tokens.ACCESS_SECONDS,
        refresh_token=refresh_token,
    )


def _fits(user: User | None, password: SecretStr) -> bool:
    stored = user.password_hash if user is not None else None
    if not _checks.acquire(timeout=CHECK_WAIT_SECONDS):
        raise RateLimitedError("too many sign-ins at once", code="LOGIN_BUSY", retry_after_seconds=2)
    try:
        return password_fits(stored or _hash_of_nobody(), password) and stored is not None
    finally:
        _checks.release()


@lru_cache(maxsize=1)
def _hash_of_nobody() -> str:
    return hash_password(tokens.new_opaque_token())
