"""What the metrics are kept in: totals rolled up from the record, and what processes report of themselves."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Double, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt


class FigureTotal(Base):
    """Events counted so far of one figure under one set of labels, up to one bound (infinite where it has no buckets)."""

    __tablename__ = "figure_totals"

    figure: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[list[str]] = mapped_column(ARRAY(Text), primary_key=True)
    # Of the bucket alone, not cumulated: bounds may change with a release and what was counted stays right.
    le: Mapped[float] = mapped_column(Double, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    sum_us: Mapped[int] = mapped_column(BigInteger)

    # The same few hundred rows are updated again and again; the space lets that happen on their own pages.
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


class FigureSource(Base):
    """How far a table is rolled up: rows before the watermark are in the totals, or pending."""

    __tablename__ = "figure_sources"

    source: Mapped[str] = mapped_column(primary_key=True)
    watermark: Mapped[datetime]
    rolled_at: Mapped[datetime]


class FigurePending(Base):
    """A row before the watermark that is not settled yet, so not in the totals yet."""

    __tablename__ = "figure_pending"

    source: Mapped[str] = mapped_column(primary_key=True)
    row_id: Mapped[UUID] = mapped_column(primary_key=True)


class WebhookOutcome(Base):
    """Requests one process answered one way. Each process overwrites its own rows, so a repeated write counts once."""

    __tablename__ = "webhook_outcomes"

    writer_id: Mapped[UUID] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    written_at: Mapped[CreatedAt]


class WorkerHeartbeat(Base):
    """A worker process that says it is there. Unlogged: after a crash of the database the workers say it again."""

    __tablename__ = "worker_heartbeats"

    id: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    pid: Mapped[int]
    host: Mapped[str]
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
    started_at: Mapped[CreatedAt]
    seen_at: Mapped[CreatedAt]
    last_task_at: Mapped[datetime | None]
    # By how much the worker's clock is ahead of the database's; the way between them is part of it.
    clock_ahead_seconds: Mapped[float | None]

    __table_args__ = ({"prefixes": ["UNLOGGED"]},)
