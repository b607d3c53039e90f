"""People: customers as the signup service told us of them, and staff who sign in."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class User(Base):
    __tablename__ = "users"

    id: Mapped[UuidKey]
    # The signup service's user_id; staff made here have none.
    external_id: Mapped[str | None] = mapped_column(unique=True)
    username: Mapped[str]
    # Who can sign in has a password; the name they sign in with is unique among them (see the index below).
    password_hash: Mapped[str | None]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    avatar: Mapped[str | None]
    roles: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    primary_role: Mapped[str | None]
    locale: Mapped[str | None]
    source: Mapped[str | None]
    interests: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    # Whatever else the signup service sent.
    extra: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    registered_at: Mapped[datetime]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    # Since then nothing in the record says who this was.
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_users_login", "username", unique=True, postgresql_where=text("password_hash IS NOT NULL")),
        Index("ix_users_registered_at", "registered_at"),
        Index("ix_users_erased_at", "erased_at", postgresql_where=text("erased_at IS NOT NULL")),
    )


class ErasedUser(Base):
    """What a registration sent again is recognised by after its user was erased: SHA-256 of the signup service's user_id."""

    __tablename__ = "erased_users"

    external_hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))


class Consultant(Base):
    __tablename__ = "consultants"

    id: Mapped[UuidKey]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), unique=True)
    display_name: Mapped[str]
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    # Set while a consultant says so; connected, but not to be counted on.
    away_since: Mapped[datetime | None]
    # What customers are matched by: ISO 639 codes ("zh"), and interests in the signup service's words.
    languages: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    skills: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    # As services.working_hours reads it; null means the hours of the settings.
    working_hours: Mapped[dict[str, Any] | None]
    is_supervisor: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[CreatedAt]


class ConsultantConnection(Base):
    """One live socket of a consultant. It expires by itself, so the consultants of a dead process go offline."""

    __tablename__ = "consultant_connections"

    id: Mapped[UuidKey]
    consultant_id: Mapped[UUID] = mapped_column(ForeignKey("consultants.id", ondelete="CASCADE"))
    connected_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_consultant_connections_consultant_id_expires_at", "consultant_id", "expires_at"),)


class PushKind(StrEnum):
    """How a channel is spoken to: a POST of JSON, a browser's subscription (RFC 8030), or any URL Apprise knows."""

    HTTP = "http"
    WEBPUSH = "webpush"
    APPRISE = "apprise"


class PushChannel(Base):
    """Where a consultant is told when no socket is open. The URL may hold a token, so it is stored encrypted."""

    __tablename__ = "push_channels"

    id: Mapped[UuidKey]
    consultant_id: Mapped[UUID] = mapped_column(ForeignKey("consultants.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    # The consultant's own word for it.
    name: Mapped[str | None]
    # The URL; of a browser its whole subscription, as JSON.
    url_encrypted: Mapped[bytes]
    position: Mapped[int] = mapped_column(server_default=text("0"))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    # Set where not the consultant switched it off, but the receiver said that it is gone.
    disabled_reason: Mapped[str | None]
    last_success_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    last_error_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]

    __table_args__ = (one_of("kind", PushKind),)


class PushKey(Base):
    """The key pair this installation signs web pushes with (VAPID, RFC 8292). One row, made on first use, never changed:
    every browser's subscription names the public half."""

    __tablename__ = "push_keys"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    # Uncompressed point, base64url without padding, as browsers take it.
    public_key: Mapped[str]
    private_key_encrypted: Mapped[bytes]
    created_at: Mapped[CreatedAt]
