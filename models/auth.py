"""Who is signed in: sessions with their refresh tokens, and failed sign-ins being counted."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class SessionKind(StrEnum):
    """How somebody signed in. A customer's session grants the customer's rights only, whatever the user's roles say."""

    STAFF = "staff"
    CUSTOMER = "customer"
    UI = "ui"


class AuthSession(Base):
    """One sign-in, until it is ended: the family of its refresh tokens, or the server's side of a browser's cookie."""

    __tablename__ = "auth_sessions"

    id: Mapped[UuidKey]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str]
    # Set where a browser holds the session: the keyed hash of its cookie.
    cookie_hash: Mapped[bytes | None] = mapped_column(unique=True)
    origin: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None]

    __table_args__ = (
        one_of("kind", SessionKind),
        Index("ix_auth_sessions_user_id", "user_id"),
        Index("ix_auth_sessions_expires_at", "expires_at"),
    )


class RefreshToken(Base):
    """One refresh token, good for one use. A used one that comes back is stolen, and ends its session."""

    __tablename__ = "refresh_tokens"

    id: Mapped[UuidKey]
    session_id: Mapped[UUID] = mapped_column(ForeignKey("auth_sessions.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    issued_at: Mapped[CreatedAt]
    used_at: Mapped[datetime | None]


class LoginFailures(Base):
    """Sign-ins begun and not yet successful, by whom they are counted for (a name at an address, a name, an address)."""

    __tablename__ = "login_failures"

    key: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    counted_from: Mapped[CreatedAt]
    locked_until: Mapped[datetime | None]

    __table_args__ = (Index("ix_login_failures_counted_from", "counted_from"),)


class OidcIdentity(Base):
    """Whom a provider's sign-in stands for: the issuer's subject is the key, as names and addresses are given away again."""

    __tablename__ = "oidc_identities"

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[CreatedAt]
