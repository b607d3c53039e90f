"""Writing and reading the MCP call log: batches, partitions, totals and statistics."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, and_, case, func, literal, or_, select, text
from sqlalchemy.orm import Session

from models import CallLog, CallTotal

# Serialises those who make and drop partitions.
PARTITION_LOCK = 7_300_003


class CallFilter(NamedTuple):
    """What a reader of the log may narrow by; `before` is the last seen (created_at, id)."""

    tool_name: str | None = None
    group_id: UUID | None = None
    caller_app_id: str | None = None
    journey_id: UUID | None = None
    success: bool | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None
    before: tuple[datetime, UUID] | None = None


# One parameter for a whole batch: building a statement a row costs more than everything else about a call's log.
_INSERT_CALLS = text(
    "INSERT INTO mcp_call_logs SELECT * FROM jsonb_populate_recordset(NULL::mcp_call_logs, CAST(:rows AS jsonb))"
    " ON CONFLICT DO NOTHING RETURNING id"
)
_ADD_TOTALS = text(
    "INSERT INTO mcp_call_totals AS total (tool_name, group_name, outcome, calls, duration_seconds, buckets)"
    " VALUES (:tool_name, :group_name, :outcome, :calls, :duration_seconds, CAST(:buckets AS bigint[]))"
    " ON CONFLICT (tool_name, group_name, outcome) DO UPDATE SET"
    " calls = total.calls + excluded.calls,"
    " duration_seconds = total.duration_seconds + excluded.duration_seconds,"
    " buckets = (SELECT array_agg(mine + theirs ORDER BY position)"
    " FROM unnest(total.buckets, excluded.buckets) WITH ORDINALITY AS pair (mine, theirs, position))"
)


def insert_calls(session: Session, rows: bytes) -> set[UUID]:
    """Insert the rows (a JSON array) that are not there yet and return their ids.

    A batch whose first commit's answer was lost may come again.
    """
    return set(session.scalars(_INSERT_CALLS, {"rows": rows.decode()}))


def add_totals(session: Session, totals: Sequence[dict[str, Any]]) -> None:
    """Add to the running totals. Every writer takes the rows in the same order, so that two never wait for each other."""
    ordered = sorted(totals, key=lambda total: (total["tool_name"], total["group_name"], total["outcome"]))
    session.execute(_ADD_TOTALS, ordered)


def list_totals(session: Session) -> list[CallTotal]:
    return list(session.scalars(select(CallTotal).order_by(CallTotal.tool_name, CallTotal.group_name)))


def list_calls(session: Session, wanted: CallFilter, limit: int) -> list[CallLog]:
    """Return calls, newest first."""
    statement = _narrowed(select(CallLog), wanted)
    return list(session.scalars(statement.order_by(CallLog.created_at.desc(), CallLog.id.desc()).limit(limit)))


def call_statistics(session: Session, wanted: CallFilter) -> list[dict[str, Any]]:
    """Return calls, errors and p50, p95, p99 (milliseconds) per group and tool."""
    # A stranger's invention is no tool: unknown names are counted together.
    tool = case((CallLog.outcome == "unknown_tool", literal("unknown")), else_=CallLog.tool_name).label("tool_name")
    percentiles = func.percentile_cont(literal([0.5, 0.95, 0.99])).within_group(CallLog.duration_ms)
    statement = _narrowed(
        select(
            CallLog.group_name,
            tool,
            func.count().label("calls"),
            func.count().filter(CallLog.success.is_(False)).label("errors"),
            percentiles.label("percentiles"),
            func.max(CallLog.created_at).label("last_call_at"),
        ),
        wanted,
    ).group_by(CallLog.group_name, tool)
    rows = session.execute(statement.order_by(CallLog.group_name, tool)).mappings()
    return [_with_percentiles(dict(row)) for row in rows]


def list_partitions(session: Session) -> list[str]:
    """Return the names of the log's monthly partitions, oldest first."""
    found = session.scalars(
        text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'mcp_call_logs'::regclass")
    )
    return sorted(name for name in found if name != "mcp_call_logs_default")


def lock_partitions(session: Session) -> None:
    """Keep other processes from making and dropping partitions until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(PARTITION_LOCK)))


def create_partition(session: Session, name: str, first: date, following: date) -> None:
    """Make a month's partition; rows of that month that landed in the default partition move into it."""
    bounds = {"first": first, "following": following}
    session.execute(text(f"CREATE TABLE {name} (LIKE mcp_call_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"))
    # Without rows of that month in the default partition nothing is locked there for long; with some, they are moved first.
    session.execute(
        text(
            f"WITH moved AS (DELETE FROM mcp_call_logs_default WHERE created_at >= :first AND created_at < :following"
            f" RETURNING *) INSERT INTO {name} SELECT * FROM moved"
        ),
        bounds,
    )
    session.execute(
        text(f"ALTER TABLE mcp_call_logs ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{following}')")
    )


def drop_partition(session: Session, name: str) -> None:
    session.execute(text(f"DROP TABLE {name}"))


def _narrowed(statement: Select[Any], wanted: CallFilter) -> Select[Any]:
    exact = {
        CallLog.tool_name: wanted.tool_name,
        CallLog.group_id: wanted.group_id,
        CallLog.caller_app_id: wanted.caller_app_id,
        CallLog.journey_id: wanted.journey_id,
        CallLog.success: wanted.success,
    }
    statement = statement.where(*(column == value for column, value in exact.items() if value is not None))
    if wanted.from_at is not None:
        statement = statement.where(CallLog.created_at >= wanted.from_at)
    if wanted.to_at is not None:
        statement = statement.where(CallLog.created_at < wanted.to_at)
    if wanted.before is not None:
        at, call_id = wanted.before
        statement = statement.where(or_(CallLog.created_at < at, and_(CallLog.created_at == at, CallLog.id < call_id)))
    return statement


def _with_percentiles(row: dict[str, Any]) -> dict[str, Any]:
    p50, p95, p99 = row.pop("percentiles")
    return row | {"p50_ms": round(p50, 2), "p95_ms": round(p95, 2), "p99_ms": round(p99, 2)}
