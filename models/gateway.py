"""Versions of an agent, and the circuits that keep broken ones from being asked."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class VersionStatus(StrEnum):
    # Drawn by its weight.
    ACTIVE = "active"
    # Drawn by its percentage, and taken back by itself when it is clearly worse.
    CANARY = "canary"
    ROLLED_BACK = "rolled_back"
    RETIRED = "retired"


class StoredCircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class AgentVersion(Base):
    """One way of running an agent: what is NULL here is the agent's own. An agent without versions is its only version."""

    __tablename__ = "agent_versions"

    id: Mapped[UuidKey]
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"))
    # Counted per agent from 1; the label of figures, for names change.
    number: Mapped[int]
    label: Mapped[str] = mapped_column(server_default="")
    status: Mapped[str] = mapped_column(server_default=VersionStatus.ACTIVE)
    weight: Mapped[int] = mapped_column(SmallInteger, server_default=text("100"))
    canary_percent: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    app_id: Mapped[str | None]
    api_key_encrypted: Mapped[bytes | None]
    mode: Mapped[str | None]
    timeout_ms: Mapped[int | None]
    # Replaces the built-in instruction in the query.
    instruction: Mapped[str | None]
    # Why and when it was taken back; shown beside its figures.
    status_reason: Mapped[str | None]
    status_changed_at: Mapped[CreatedAt]
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        one_of("status", VersionStatus),
        CheckConstraint("weight BETWEEN 0 AND 1000", name="weight_bounded"),
        CheckConstraint("canary_percent BETWEEN 0 AND 100", name="canary_percent_bounded"),
        UniqueConstraint("agent_id", "number"),
    )


class AgentCircuit(Base):
    """A version's circuit breaker, shared by all processes; see services.gateway.breaker. No row means closed.

    Its id is the version's, or the agent's where the agent has no versions.
    """

    __tablename__ = "agent_circuits"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(server_default=StoredCircuitState.CLOSED)
    consecutive_failures: Mapped[int] = mapped_column(server_default=text("0"))
    window_started_at: Mapped[datetime | None]
    window_successes: Mapped[int] = mapped_column(server_default=text("0"))
    window_failures: Mapped[int] = mapped_column(server_default=text("0"))
    opened_at: Mapped[datetime | None]
    opened_times: Mapped[int] = mapped_column(server_default=text("0"))
    probes_open: Mapped[int] = mapped_column(server_default=text("0"))
    probe_successes: Mapped[int] = mapped_column(server_default=text("0"))
    probed_at: Mapped[datetime | None]
    updated_at: Mapped[CreatedAt]

    __table_args__ = (
        one_of("state", StoredCircuitState),
        # One row a version, updated with every failure.
        {"postgresql_with": {"fillfactor": "50"}},
    )
