"""Agents that write welcomes, and every call made to one."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class CallStatus(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class FeedbackStatus(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


class FeedbackVerdict(StrEnum):
    LIKE = "like"
    DISLIKE = "dislike"


class Agent(Base):
    __tablename__ = "agents"

    id: Mapped[UuidKey]
    name: Mapped[str] = mapped_column(unique=True)
    provider: Mapped[str] = mapped_column(server_default="dify")
    base_url: Mapped[str]
    app_id: Mapped[str | None]
    api_key_encrypted: Mapped[bytes]
    mode: Mapped[str] = mapped_column(server_default="agent")
    timeout_ms: Mapped[int] = mapped_column(server_default=text("60000"))
    # Tried in this order: the first enabled agent is the one that is asked first.
    position: Mapped[int] = mapped_column(server_default=text("0"))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    # Set instead of deleting an agent that was called: the record goes on naming it. It is disabled and has no key.
    deleted_at: Mapped[datetime | None]


class AgentCall(Base):
    """One call, recorded before it is made: an agent has no idempotency key, so a repeat must be visible."""

    __tablename__ = "agent_calls"

    id: Mapped[UuidKey]
    journey_id: Mapped[UUID | None] = mapped_column(ForeignKey("journeys.id", ondelete="CASCADE"))
    attempt: Mapped[int] = mapped_column(SmallInteger)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    status: Mapped[str] = mapped_column(server_default=CallStatus.RUNNING)
    task_id: Mapped[str | None]
    # Tokens, price and latency as the provider reported them.
    usage: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None]
    error_text: Mapped[str | None]
    started_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]
    duration_ms: Mapped[int | None]
    # None where the agent has no versions.
    version_id: Mapped[UUID | None] = mapped_column(ForeignKey("agent_versions.id", ondelete="SET NULL"))
    first_token_ms: Mapped[int | None]
    # The provider's id of its message, which its feedback is given on.
    provider_message_id: Mapped[str | None]
    # Why the guard refused the answer, and the answer for whoever reviews it. The call itself succeeded.
    refusal: Mapped[str | None]
    refused_answer: Mapped[str | None]

    __table_args__ = (
        one_of("status", CallStatus),
        Index("ix_agent_calls_refused", "started_at", postgresql_where=text("refusal IS NOT NULL")),
        Index("ix_agent_calls_running", "agent_id", "version_id", postgresql_where=text("status = 'running'")),
        Index("ix_agent_calls_journey_id", "journey_id"),
        Index("ix_agent_calls_agent_id_started_at", "agent_id", "started_at"),
        Index("ix_agent_calls_started_at", "started_at"),
    )


class AgentFeedback(Base):
    """What the provider is to be told of a customer's rating of its welcome; the row is the outbox of the telling."""

    __tablename__ = "agent_feedback"

    message_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id"), primary_key=True)
    call_id: Mapped[UUID] = mapped_column(ForeignKey("agent_calls.id", ondelete="CASCADE"), index=True)
    # None takes back what was told before.
    verdict: Mapped[str | None]
    comment: Mapped[str | None]
    # Counts changes of mind: what was told is done only when it was the newest.
    revision: Mapped[int] = mapped_column(server_default=text("1"))
    status: Mapped[str] = mapped_column(server_default=FeedbackStatus.PENDING)
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    sweep_at: Mapped[datetime | None]
    due_at: Mapped[CreatedAt]
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_text: Mapped[str | None]
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("status", FeedbackStatus),
        one_of("verdict", FeedbackVerdict),
        Index("ix_agent_feedback_sweep_at", "sweep_at", postgresql_where=text("sweep_at IS NOT NULL")),
    )
