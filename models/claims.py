"""What people do with a conversation: claims of consultants, how far each read, and the customer's rating of messages."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey


class Claim(Base):
    """One consultant's time with a conversation. The open one is the row that names no release."""

    __tablename__ = "claims"

    id: Mapped[UuidKey]
    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversations.id"))
    consultant_id: Mapped[UUID] = mapped_column(ForeignKey("consultants.id"))
    # From the moment the consultants were told (or else the conversation was opened) until the claim.
    waited_ms: Mapped[int]
    claimed_at: Mapped[CreatedAt]
    released_at: Mapped[datetime | None]
    released_reason: Mapped[str | None]

    __table_args__ = (
        Index("uq_claims_open", "conversation_id", unique=True, postgresql_where=text("released_at IS NULL")),
        Index("ix_claims_conversation_id_claimed_at", "conversation_id", "claimed_at"),
        Index("ix_claims_consultant_id_claimed_at", "consultant_id", "claimed_at"),
        Index("ix_claims_claimed_at", "claimed_at"),
    )


class ReadMark(Base):
    """Up to when somebody read a conversation."""

    __tablename__ = "read_marks"

    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversations.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    read_until: Mapped[datetime]


class Feedback(Base):
    """A customer's rating of one message; a second one replaces the first."""

    __tablename__ = "feedback"

    id: Mapped[UuidKey]
    message_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    rating: Mapped[int] = mapped_column(SmallInteger)
    comment: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

    __table_args__ = (
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating_in_range"),
        Index("uq_feedback_message_id_user_id", "message_id", "user_id", unique=True),
        Index("ix_feedback_created_at", "created_at"),
    )
