"""Conversations and their messages."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class SenderType(StrEnum):
    AI = "ai"
    CUSTOMER = "customer"
    CONSULTANT = "consultant"


class WelcomeSource(StrEnum):
    AGENT = "agent"
    TEMPLATE = "template"


class Conversation(Base):
    __tablename__ = "conversations"

    id: Mapped[UuidKey]
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    # The journey that opened it; at most one conversation a journey.
    journey_id: Mapped[UUID | None] = mapped_column(ForeignKey("journeys.id"), unique=True)
    title: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    owner: Mapped[str]
    ai_controlled: Mapped[bool] = mapped_column(server_default=text("true"))
    claimed_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("consultants.id"))
    claimed_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

    __table_args__ = (
        # What waits for somebody to claim it, oldest first.
        Index("ix_conversations_unclaimed", "created_at", postgresql_where=text("claimed_by_id IS NULL")),
        Index("ix_conversations_claimed_by_id", "claimed_by_id"),
    )


class Message(Base):
    __tablename__ = "messages"

    id: Mapped[UuidKey]
    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversations.id"))
    sender_type: Mapped[str]
    sender_id: Mapped[UUID | None]
    # {"type": "text", "text": …}; further types may follow.
    content: Mapped[dict[str, Any]]
    # Set on welcomes: the journey, and who wrote it.
    journey_id: Mapped[UUID | None] = mapped_column(ForeignKey("journeys.id"))
    source: Mapped[str | None]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        one_of("sender_type", SenderType),
        one_of("source", WelcomeSource),
        # The guarantee behind "exactly one welcome": one of each source a journey, however often a step runs.
        Index(
            "uq_messages_welcome", "journey_id", "source", unique=True, postgresql_where=text("journey_id IS NOT NULL")
        ),
        Index("ix_messages_conversation_id_created_at", "conversation_id", "created_at"),
        Index("ix_messages_welcome_created_at", "created_at", postgresql_where=text("source IS NOT NULL")),
    )
