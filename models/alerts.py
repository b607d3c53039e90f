"""Alerts to administrators: one row per kind of trouble, which counts, is sent, and is sent again when it goes on."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class AlertStatus(StrEnum):
    PENDING = "pending"
    SENT = "sent"


class Alert(Base):
    __tablename__ = "alerts"

    id: Mapped[UuidKey]
    # What makes two troubles the same: they share one alert, however many there are.
    key: Mapped[str] = mapped_column(unique=True)
    severity: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    occurrences: Mapped[int]
    # How many of them the last alert told of.
    reported: Mapped[int] = mapped_column(server_default=text("0"))
    first_at: Mapped[CreatedAt]
    last_at: Mapped[CreatedAt]
    last_sent_at: Mapped[datetime | None]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    due_at: Mapped[datetime | None]
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_text: Mapped[str | None]

    __table_args__ = (
        one_of("status", AlertStatus),
        Index("ix_alerts_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )


class AlertChannel(Base):
    """Where alerts go: any URL Apprise speaks (WeCom, DingTalk, Feishu, Bark, mail, webhooks). Holds tokens, so encrypted."""

    __tablename__ = "alert_channels"

    id: Mapped[UuidKey]
    name: Mapped[str] = mapped_column(unique=True)
    url_encrypted: Mapped[bytes]
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    last_success_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
