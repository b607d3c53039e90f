"""What consultants are told: one row per journey, consultant and channel; the row is the outbox of its delivery."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class Channel(StrEnum):
    WEBSOCKET = "websocket"
    PUSH = "push"


class NotificationStatus(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    DELIVERED = "delivered"
    SEEN = "seen"
    FAILED = "failed"


class Notification(Base):
    __tablename__ = "notifications"

    id: Mapped[UuidKey]
    journey_id: Mapped[UUID] = mapped_column(ForeignKey("journeys.id", ondelete="CASCADE"))
    consultant_id: Mapped[UUID] = mapped_column(ForeignKey("consultants.id"))
    channel: Mapped[str]
    status: Mapped[str]
    payload: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    due_at: Mapped[datetime | None]
    sweep_at: Mapped[datetime | None]
    published: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_text: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    sent_at: Mapped[datetime | None]
    # Without a receipt by then the next channel's turn comes; null where there is none, or it came.
    receipt_due_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("channel", Channel),
        one_of("status", NotificationStatus),
        UniqueConstraint("journey_id", "consultant_id", "channel"),
        Index("ix_notifications_consultant_id_id", "consultant_id", "id"),
        Index("ix_notifications_created_at", "created_at"),
        Index("ix_notifications_sweep_at", "sweep_at", postgresql_where=text("sweep_at IS NOT NULL")),
        Index("ix_notifications_receipt_due_at", "receipt_due_at", postgresql_where=text("receipt_due_at IS NOT NULL")),
    )
