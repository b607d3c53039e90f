"""Journeys, their steps and attempts, and the dead letters of those that failed for good."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class JourneyKind(StrEnum):
    REGISTRATION = "registration"


class JourneyStatus(StrEnum):
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class StepName(StrEnum):
    """The steps of a registration journey, in their order."""

    CREATE_CONVERSATION = "create_conversation"
    GENERATE_WELCOME = "generate_welcome"
    NOTIFY_CONSULTANTS = "notify_consultants"


class StepStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class AttemptOutcome(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    # The lease ran out: the worker died or hung, and somebody else took over.
    LOST = "lost"


class DeadLetterStatus(StrEnum):
    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class Journey(Base):
    __tablename__ = "journeys"

    id: Mapped[UuidKey]
    kind: Mapped[str] = mapped_column(server_default=JourneyKind.REGISTRATION)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str]
    reason: Mapped[str | None]
    # Steps neither succeeded nor skipped. A counter, because two steps that finish at once must agree on who was last.
    open_steps: Mapped[int] = mapped_column(SmallInteger)
    # Kept for explanation only: steps read the settings in force when they run.
    settings_version: Mapped[int]
    # What an agent is given instead of a user id; valid only while a welcome is being written.
    handle: Mapped[str | None] = mapped_column(unique=True)
    handle_expires_at: Mapped[datetime | None]
    accepted_at: Mapped[CreatedAt]
    # When the template is due if no welcome was stored until then; none where the strategy never sends it.
    greet_by_at: Mapped[datetime | None]
    conversation_at: Mapped[datetime | None]
    greeted_at: Mapped[datetime | None]
    greeted_by: Mapped[str | None]
    notified_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("status", JourneyStatus),
        UniqueConstraint("user_id", "kind"),
        Index("ix_journeys_accepted_at", "accepted_at"),
        # Without the unfinished: each of a journey's updates would enter it here once more, with nothing to find.
        Index("ix_journeys_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        # Small whatever the table holds: only journeys still to be greeted, only journeys still open.
        Index(
            "ix_journeys_greet_by_at",
            "greet_by_at",
            postgresql_where=text("greeted_at IS NULL AND greet_by_at IS NOT NULL AND finished_at IS NULL"),
        ),
        Index(
            "ix_journeys_open",
            "status",
            "accepted_at",
            postgresql_where=text("status IN ('accepted', 'running', 'failed')"),
        ),
        # Rows are updated a handful of times each: free space keeps those updates on their page (HOT).
        {"postgresql_with": {"fillfactor": "70"}},
    )


class JourneyStep(Base):
    __tablename__ = "journey_steps"

    id: Mapped[UuidKey]
    journey_id: Mapped[UUID] = mapped_column(ForeignKey("journeys.id", ondelete="CASCADE"))
    name: Mapped[str]
    position: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str] = mapped_column(server_default=StepStatus.PENDING)
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    # Attempts that count against the retry policy; a replay sets it back, `attempts` never goes back.
    failures: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    # From when on it may be claimed; none while an earlier step has to come first.
    due_at: Mapped[datetime | None]
    # When the sweep looks at it again; none when there is nothing left to do.
    sweep_at: Mapped[datetime | None]
    published: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    # What an operator changed for a replay; overrides the step's own inputs.
    payload: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None]
    error_text: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("name", StepName),
        one_of("status", StepStatus),
        UniqueConstraint("journey_id", "name"),
        Index("ix_journey_steps_sweep_at", "sweep_at", postgresql_where=text("sweep_at IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "70"}},
    )


class StepAttempt(Base):
    __tablename__ = "step_attempts"

    id: Mapped[UuidKey]
    journey_id: Mapped[UUID] = mapped_column(ForeignKey("journeys.id", ondelete="CASCADE"))
    step: Mapped[str]
    attempt: Mapped[int] = mapped_column(SmallInteger)
    outcome: Mapped[str]
    worker: Mapped[str | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    duration_ms: Mapped[int | None]
    error_code: Mapped[str | None]
    error_text: Mapped[str | None]

    __table_args__ = (
        one_of("outcome", AttemptOutcome),
        UniqueConstraint("journey_id", "step", "attempt"),
        Index("ix_step_attempts_started_at", "started_at"),
    )


class DeadLetter(Base):
    __tablename__ = "dead_letters"

    id: Mapped[UuidKey]
    journey_id: Mapped[UUID] = mapped_column(ForeignKey("journeys.id", ondelete="CASCADE"))
    step: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=DeadLetterStatus.OPEN)
    error_code: Mapped[str]
    error_text: Mapped[str]
    attempts: Mapped[int] = mapped_column(SmallInteger)
    # The step's inputs as they were; an operator may replay with others.
    payload: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    opened_at: Mapped[CreatedAt]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]
    reason: Mapped[str | None]

    __table_args__ = (
        one_of("status", DeadLetterStatus),
        Index("uq_dead_letters_open", "journey_id", "step", unique=True, postgresql_where=text("status = 'open'")),
        Index("ix_dead_letters_status_opened_at", "status", "opened_at"),
        Index("ix_dead_letters_opened_at", "opened_at"),
        Index("ix_dead_letters_journey_id", "journey_id"),
    )
