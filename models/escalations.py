"""The escalation ladder: one row per rung of a waiting customer, and the pushes a rung sends."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of
from models.notifications import NotificationStatus


class RungAction(StrEnum):
    """What a rung does about a customer nobody has taken."""

    REMIND = "remind"
    WIDEN = "widen"
    SUPERVISOR = "supervisor"
    REASSIGN = "reassign"


class RungStatus(StrEnum):
    PENDING = "pending"
    DONE = "done"
    STOPPED = "stopped"


class Escalation(Base):
    """One rung: due, done or stopped. The next rung's row is written with the doing of this one, so none is lost or doubled."""

    __tablename__ = "escalations"

    id: Mapped[UuidKey]
    journey_id: Mapped[UUID] = mapped_column(ForeignKey("journeys.id", ondelete="CASCADE"))
    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversations.id"))
    # A customer who was given back waits anew.
    round: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    rung: Mapped[int] = mapped_column(SmallInteger)
    action: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    # Since when the customer waits in this round.
    waiting_since: Mapped[datetime]
    due_at: Mapped[datetime]
    sweep_at: Mapped[datetime | None]
    # How often it was put off to the next working hours.
    paused: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    ended_at: Mapped[datetime | None]
    # Done: how many were told, who was given the customer. Stopped: why.
    result: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        one_of("action", RungAction),
        one_of("status", RungStatus),
        UniqueConstraint("conversation_id", "round", "rung"),
        Index("ix_escalations_journey_id", "journey_id"),
        Index("ix_escalations_sweep_at", "sweep_at", postgresql_where=text("sweep_at IS NOT NULL")),
    )


class EscalationPush(Base):
    """One push a rung sends; delivered as a notification is, but not one: a consultant gets one of those per channel."""

    __tablename__ = "escalation_pushes"

    id: Mapped[UuidKey]
    escalation_id: Mapped[UUID] = mapped_column(ForeignKey("escalations.id", ondelete="CASCADE"))
    journey_id: Mapped[UUID] = mapped_column(ForeignKey("journeys.id", ondelete="CASCADE"), index=True)
    consultant_id: Mapped[UUID] = mapped_column(ForeignKey("consultants.id"))
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

    __table_args__ = (
        one_of("status", NotificationStatus),
        UniqueConstraint("escalation_id", "consultant_id"),
        Index("ix_escalation_pushes_sweep_at", "sweep_at", postgresql_where=text("sweep_at IS NOT NULL")),
    )
