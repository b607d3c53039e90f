"""Tool groups with their keys, the tools assigned to them, the log of every call, and the running totals of that log."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.ids import new_id
from models.base import Base, CreatedAt, UuidKey, one_of


class HandlerKind(StrEnum):
    """Where a tool's work is done. Only functions of ours so far."""

    PYTHON = "python"


class CallOutcome(StrEnum):
    """How a call ended. On the wire the first three refusals look alike; here the reason is kept."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    UNKNOWN_TOOL = "unknown_tool"
    DISABLED_TOOL = "disabled_tool"
    FOREIGN_TOOL = "foreign_tool"
    INVALID_ARGUMENTS = "invalid_arguments"
    NOT_ALLOWED = "not_allowed"
    RATE_LIMITED = "rate_limited"


class ToolGroup(Base):
    """A set of tools behind one key."""

    __tablename__ = "mcp_tool_groups"

    id: Mapped[UuidKey]
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(server_default="")
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    # The key itself is never stored: a hash to find it by, and an encrypted copy for an administrator to read.
    key_hash: Mapped[bytes] = mapped_column(unique=True)
    key_encrypted: Mapped[bytes]
    key_created_at: Mapped[CreatedAt]
    key_expires_at: Mapped[datetime | None]
    # Written with the call log, so it may lag by the log's interval; not announced.
    key_last_used_at: Mapped[datetime | None]
    # internal, external: the tiers of acting users that are served; empty for all.
    user_tier_access: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    # Roles of acting users that are served; empty for all.
    allowed_roles: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    # Whether tools accept a plain user id; where not, only the handle of a running journey names a user.
    accepts_user_ids: Mapped[bool] = mapped_column(server_default=text("false"))
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class Tool(Base):
    """One tool in one group. What is null here comes from the function: description and schema."""

    __tablename__ = "mcp_tools"

    id: Mapped[UuidKey]
    tool_name: Mapped[str]
    group_id: Mapped[UUID] = mapped_column(ForeignKey("mcp_tool_groups.id", ondelete="CASCADE"))
    handler: Mapped[str] = mapped_column(server_default=HandlerKind.PYTHON)
    version: Mapped[str] = mapped_column(server_default="1.0.0")
    description: Mapped[str | None]
    input_schema: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    timeout_seconds: Mapped[float] = mapped_column(server_default=text("30"))
    config_data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

    __table_args__ = (
        one_of("handler", HandlerKind),
        UniqueConstraint("group_id", "tool_name"),
        Index("ix_mcp_tools_tool_name", "tool_name"),
    )


class CallLog(Base):
    """One call of a tool, refused ones included. Partitioned by month; old months are dropped whole."""

    __tablename__ = "mcp_call_logs"

    id: Mapped[UUID] = mapped_column(default=new_id)
    created_at: Mapped[datetime]
    tool_name: Mapped[str]
    # No foreign keys: the log outlives groups and journeys, and writing it must not wait for them.
    group_id: Mapped[UUID]
    group_name: Mapped[str]
    journey_id: Mapped[UUID | None]
    caller_app_id: Mapped[str | None]
    transport: Mapped[str]
    protocol_version: Mapped[str | None]
    outcome: Mapped[str]
    success: Mapped[bool]
    duration_ms: Mapped[float]
    # Masked and capped.
    request: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    response: Mapped[str | None]
    error_code: Mapped[str | None]
    error: Mapped[str | None]

    __table_args__ = (
        one_of("outcome", CallOutcome),
        # A partitioned table's keys must hold the partition column.
        PrimaryKeyConstraint("id", "created_at"),
        Index("ix_mcp_call_logs_tool_name_success_created_at", "tool_name", "success", "created_at"),
        Index("ix_mcp_call_logs_created_at", "created_at", "id"),
        Index("ix_mcp_call_logs_group_id_created_at", "group_id", "created_at"),
        Index("ix_mcp_call_logs_caller_app_id_created_at", "caller_app_id", "created_at"),
        Index("ix_mcp_call_logs_journey_id", "journey_id", postgresql_where=text("journey_id IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )


class CallTotal(Base):
    """Calls since the beginning, written with the log rows they count: it survives the log's retention."""

    __tablename__ = "mcp_call_totals"

    # Unknown tools are counted together, so that strangers cannot make rows or labels.
    tool_name: Mapped[str] = mapped_column(primary_key=True)
    group_name: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    duration_seconds: Mapped[float]
    # Calls at most as long as each bound of services.mcp_figures.BUCKETS_SECONDS, not cumulated; the last is the rest.
    buckets: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
