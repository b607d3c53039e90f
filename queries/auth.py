"""Sessions, refresh tokens and counted sign-ins."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models import AuthSession, OidcIdentity, RefreshToken, User


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that is good now, and its user as they are now."""

    session_id: UUID
    kind: str
    user_id: UUID
    username: str
    roles: list[str]
    consultant_id: UUID | None


_SIGNED_IN = """
SELECT s.id AS session_id, s.kind, u.id AS user_id, u.username, u.roles, c.id AS consultant_id
FROM auth_sessions s
JOIN users u ON u.id = s.user_id AND u.is_active
LEFT JOIN consultants c ON c.user_id = u.id AND c.enabled
WHERE s.revoked_at IS NULL AND s.expires_at > now()"""
_FIND = text(f"{_SIGNED_IN} AND s.id = :session_id AND s.user_id = :user_id")
_FIND_BY_COOKIE = text(f"{_SIGNED_IN} AND s.cookie_hash = :cookie_hash")
_LIST = text(f"{_SIGNED_IN} AND s.id = ANY(:session_ids)")


def find_signed_in(session: Session, session_id: UUID, user_id: UUID) -> SignedIn | None:
    """Return who is signed in, or None when the session has ended or the user is not active any more."""
    row = session.execute(_FIND, {"session_id": session_id, "user_id": user_id}).one_or_none()
    return SignedIn(**row._mapping) if row else None


def find_by_cookie(session: Session, cookie_hash: bytes) -> SignedIn | None:
    """Return whose browser this is."""
    row = session.execute(_FIND_BY_COOKIE, {"cookie_hash": cookie_hash}).one_or_none()
    return SignedIn(**row._mapping) if row else None


def list_signed_in(session: Session, session_ids: Sequence[UUID]) -> list[SignedIn]:
    """Return those of the sessions that are good now."""
    return [SignedIn(**row._mapping) for row in session.execute(_LIST, {"session_ids": list(session_ids)})]


def find_login(session: Session, username: str) -> User | None:
    """Return who signs in with this name."""
    return session.scalars(select(User).where(User.username == username, User.password_hash.is_not(None))).one_or_none()


def lock_login(session: Session, username: str) -> User | None:
    """Return who signs in with this name, the row locked until the transaction ends."""
    return session.scalars(
        select(User).where(User.username == username, User.password_hash.is_not(None)).with_for_update()
    ).one_or_none()


def find_oidc_user(session: Session, issuer: str, subject: str) -> User | None:
    """Return whom the provider's subject stands for, and note that it was used."""
    used = (
        update(OidcIdentity)
        .where(OidcIdentity.issuer == issuer, OidcIdentity.subject == subject)
        .values(last_used_at=func.now())
        .returning(OidcIdentity.user_id)
    )
    user_id = session.execute(used).scalar_one_or_none()
    return session.get(User, user_id) if user_id is not None else None


def has_oidc_identity(session: Session, issuer: str, user_id: UUID) -> bool:
    """Tell whether a subject of this issuer stands for the user."""
    found = select(OidcIdentity.subject).where(OidcIdentity.issuer == issuer, OidcIdentity.user_id == user_id)
    return session.execute(found.limit(1)).first() is not None


def link_oidc_user(session: Session, issuer: str, subject: str, user_id: UUID) -> None:
    """Let the subject stand for this user; raise IntegrityError where it stands for one already."""
    session.execute(insert(OidcIdentity).values(issuer=issuer, subject=subject, user_id=user_id))


def lock_refresh_token(session: Session, token_hash: bytes) -> tuple[RefreshToken, AuthSession, User] | None:
    """Return the token with its session and user; token and session are locked until the transaction ends."""
    row = session.execute(
        select(RefreshToken, AuthSession, User)
        .join(AuthSession, AuthSession.id == RefreshToken.session_id)
        .join(User, User.id == AuthSession.user_id)
        .where(RefreshToken.token_hash == token_hash)
        .with_for_update(of=(RefreshToken, AuthSession))
    ).one_or_none()
    return (row[0], row[1], row[2]) if row else None


def revoke_session(session: Session, session_id: UUID, reason: str) -> bool:
    """End the session; return whether it was open."""
    ended = session.execute(
        update(AuthSession)
        .where(AuthSession.id == session_id, AuthSession.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_reason=reason)
        .returning(AuthSession.id)
    )
    return ended.scalar() is not None


def revoke_sessions_of(session: Session, user_id: UUID, reason: str) -> list[UUID]:
    """End all sessions of a user; return those that were open."""
    ended = session.execute(
        update(AuthSession)
        .where(AuthSession.user_id == user_id, AuthSession.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_reason=reason)
        .returning(AuthSession.id)
    )
    return list(ended.scalars())


# The attempt is counted before the password is looked at, so many attempts at once get no further than many in a row. The
# attempt that reaches the limit still counts, and locks the key behind it; each one after that lock doubles it. A key that
# nobody tried for the window begins anew. Keys go in one order, so two sign-ins never wait for each other in a circle.
_COUNT = text("""
WITH given AS (
    SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:limits AS integer[])) AS g(key, most)
),
now_counted AS (
    SELECT g.key, g.most, now() - make_interval(secs => :window_seconds) AS stale FROM given g ORDER BY g.key
),
counted AS (
    INSERT INTO login_failures AS f (key, failures)
    SELECT key, 1 FROM now_counted
    ON CONFLICT (key) DO UPDATE SET
        failures = CASE WHEN f.counted_from < now() - make_interval(secs => :window_seconds) THEN 1 ELSE f.failures + 1 END,
        counted_from = now(),
        locked_until = (
            SELECT CASE WHEN f.counted_from >= g.stale AND f.failures + 1 >= g.most
                THEN now() + make_interval(secs => least(:longest_seconds, :first_seconds * 2 ^ least(f.failures + 1 - g.most, 10)))
            END
            FROM now_counted g WHERE g.key = f.key)
    WHERE f.locked_until IS NULL OR f.locked_until <= now()
    RETURNING key
)
SELECT count(*) FROM counted
""")
_LOCKED = text("""
SELECT coalesce(extract(epoch FROM max(locked_until) - now()), 0) FROM login_failures WHERE key = ANY(:keys)
""")


def count_attempt(
    session: Session,
    limits: dict[str, int],
    *,
    window_seconds: float,
    first_seconds: float,
    longest_seconds: float,
) -> float | None:
    """Count one attempt under each key that is not locked; return the longest lock's seconds, None where none is locked."""
    keys = sorted(limits)
    counted = session.execute(
        _COUNT,
        {
            "keys": keys,
            "limits": [limits[key] for key in keys],
            "window_seconds": window_seconds,
            "first_seconds": first_seconds,
            "longest_seconds": longest_seconds,
        },
    ).scalar_one()
    if counted == len(keys):
        return None
    return max(1.0, float(session.execute(_LOCKED, {"keys": keys}).scalar_one()))


def forget_attempts(session: Session, keys: Sequence[str]) -> None:
    """Begin counting anew after a sign-in that succeeded."""
    session.execute(text("DELETE FROM login_failures WHERE key = ANY(:keys)"), {"keys": list(keys)})


_FORGET_OLD = text("""
WITH sessions AS (
    DELETE FROM auth_sessions WHERE id IN (
        SELECT id FROM auth_sessions WHERE expires_at < now() - interval '30 days' ORDER BY expires_at LIMIT :most)
    RETURNING 1
),
attempts AS (
    DELETE FROM login_failures
    WHERE counted_from < now() - interval '1 day' AND coalesce(locked_until, '-infinity') < now()
    RETURNING 1
)
SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM attempts)
""")


def delete_old(session: Session, *, most: int = 5000) -> int:
    """Delete sessions that ended a month ago and attempts of yesterday; return how many."""
    return int(session.execute(_FORGET_OLD, {"most": most}).scalar_one())


def touch_session(session: Session, session_id: UUID, until: datetime) -> None:
    """Note that the session was used, and let it live until then."""
    session.execute(
        update(AuthSession).where(AuthSession.id == session_id).values(last_used_at=func.now(), expires_at=until)
    )


def lock_staff_user(session: Session, user_id: UUID) -> User | None:
    """Return somebody who signs in, the row locked until the transaction ends."""
    return session.scalars(
        select(User).where(User.id == user_id, User.password_hash.is_not(None)).with_for_update()
    ).one_or_none()


def count_administrators(session: Session) -> int:
    """Return how many active administrators there are; others who change that wait until the transaction ends."""
    administrators = session.scalars(
        select(User.id)
        .where(User.password_hash.is_not(None), User.is_active, User.roles.contains(["admin"]))
        .order_by(User.id)
        .with_for_update()
    )
    return len(administrators.all())
