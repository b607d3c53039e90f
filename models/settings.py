"""What an administrator may change: versioned settings, webhook secrets, and the audit of every change."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey


class SettingsVersion(Base):
    """One version of a family of settings; the highest is in force. Rolling back writes an old one again."""

    __tablename__ = "settings_versions"

    id: Mapped[UuidKey]
    name: Mapped[str]
    version: Mapped[int]
    data: Mapped[dict[str, Any]]
    reason: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]

    __table_args__ = (UniqueConstraint("name", "version"),)


class SettingsProcess(Base):
    """A process that says which versions it runs. Unlogged: after a crash of the database the processes say it again."""

    __tablename__ = "settings_processes"

    id: Mapped[UuidKey]
    role: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    # The server's side of the connection on which the process hears of changes: it is there for as long as the process is.
    listener_pid: Mapped[int | None]
    # By the settings' name: the version it runs, and a newer one it could not read.
    versions: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    refused: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    started_at: Mapped[CreatedAt]
    # When either of them last changed.
    changed_at: Mapped[CreatedAt]
    seen_at: Mapped[CreatedAt]

    __table_args__ = ({"prefixes": ["UNLOGGED"]},)


class WebhookSecret(Base):
    """A secret the signup service signs with; several are valid while one is rotated out."""

    __tablename__ = "webhook_secrets"

    id: Mapped[UuidKey]
    secret_encrypted: Mapped[bytes]
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None]


class WebhookReceipt(Base):
    """Which journey a webhook-id led to: kept for ever, so a repeat is known for ever."""

    __tablename__ = "webhook_receipts"

    webhook_id: Mapped[str] = mapped_column(primary_key=True)
    journey_id: Mapped[UUID] = mapped_column(ForeignKey("journeys.id"))
    received_at: Mapped[CreatedAt]


class AuditEntry(Base):
    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[CreatedAt]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    origin: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    # Written by a trigger: covers this row and the one before, so that a row changed or removed is noticed.
    chain_hash: Mapped[bytes | None]

    __table_args__ = (
        Index("ix_audit_log_at", "at"),
        Index("ix_audit_log_subject", "subject"),
        Index("ix_audit_log_actor", "actor"),
    )


class AuditHead(Base):
    """The audit log's end, kept apart from it: without it the newest rows could go unnoticed. One row."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    last_id: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes]


class RetentionMark(Base):
    """How far one kind of data was pruned: journeys that finished until then, or rows made until then."""

    __tablename__ = "retention_marks"

    kind: Mapped[str] = mapped_column(primary_key=True)
    pruned_until: Mapped[datetime]
    # Since the beginning, for the figures.
    rows_pruned: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # When a run last left nothing older than the settings say.
    caught_up_at: Mapped[datetime | None]
