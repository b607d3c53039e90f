"""What sockets are told: one row per event and audience, numbered in commit order (docs/decisions/0006-events.md)."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt


class Event(Base):
    __tablename__ = "events"

    # The order in which events were written; a reader goes by `seq`.
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    # Given after the writer's commit, under a lock, so that no lower number can appear after a higher one was read.
    seq: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    # `consultants` (all of them), `consultant:<id>` or `customer:<user id>`.
    audience: Mapped[str]
    # Narrows the audience `consultants` to some of them; null means everybody.
    recipients: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    type: Mapped[str]
    data: Mapped[dict[str, Any]]
    # What makes two events the same: the second is not written.
    dedup_key: Mapped[str | None] = mapped_column(unique=True)
    journey_id: Mapped[UUID | None]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        Index("ix_events_unnumbered", "id", postgresql_where=text("seq IS NULL")),
        Index("ix_events_audience_seq", "audience", "seq"),
        # Every row is written once more, with its number: free space keeps that on its page, where the log needs to hold
        # only what changed.
        {"postgresql_with": {"fillfactor": "50"}},
    )
