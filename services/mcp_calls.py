"""The call log: what a row says, how batches are stored, what is kept for how long, and what the figures are made of."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import orjson

from core.clock import utc_now
from core.database import unit_of_work
from models import CallLog, CallOutcome
from queries import mcp_calls as queries
from queries import mcp_groups as group_queries
from queries.mcp_calls import CallFilter
from services import mcp_settings

# Upper bounds of the duration histogram, in seconds; a last bucket holds what took longer. The promise is 0.5 s.
BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNKNOWN = "unknown"
# Partitions are made this many months ahead, so that one missed run of the maintenance costs nothing.
MONTHS_AHEAD = 2
_PARTITION = "mcp_call_logs_"


def store(rows: Sequence[dict[str, Any]]) -> int:
    """Store call rows with their totals and the times of use of their keys, in one transaction; return how many were new.

    Safe to repeat: rows are told by their ids, and only new ones are counted.
    """
    if not rows:
        return 0
    with unit_of_work() as session:
        fresh_ids = queries.insert_calls(session, orjson.dumps(list(rows)))
        fresh = [row for row in rows if row["id"] in fresh_ids]
        if fresh:
            queries.add_totals(session, totals_of(fresh))
            group_queries.touch_keys(session, _last_used(fresh))
    return len(fresh)


def totals_of(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the rows add to the running totals."""
    totals: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        tool = UNKNOWN if row["outcome"] == CallOutcome.UNKNOWN_TOOL else row["tool_name"]
        key = (tool, row["group_name"], row["outcome"])
        total = totals.setdefault(
            key,
            {
                "tool_name": tool,
                "group_name": row["group_name"],
                "outcome": str(row["outcome"]),
                "calls": 0,
                "duration_seconds": 0.0,
                "buckets": [0] * (len(BUCKETS_SECONDS) + 1),
            },
        )
        seconds = row["duration_ms"] / 1000
        total["calls"] += 1
        total["duration_seconds"] += seconds
        total["buckets"][bucket_of(seconds)] += 1
    return list(totals.values())


def bucket_of(seconds: float) -> int:
    """Return the index of the bucket a duration belongs to."""
    return next((index for index, bound in enumerate(BUCKETS_SECONDS) if seconds <= bound), len(BUCKETS_SECONDS))


def maintain(*, today: date | None = None) -> None:
    """Make the coming months' partitions and drop those past the retention. Safe to run often and from many processes."""
    today = today or utc_now().date()
    keep_from = _add_months(today.replace(day=1), -mcp_settings.current().log_retention_months)
    with unit_of_work() as session:
        queries.lock_partitions(session)
        existing = queries.list_partitions(session)
        for ahead in range(MONTHS_AHEAD + 1):
            first = _add_months(today.replace(day=1), ahead)
            if _name_of(first) not in existing:
                queries.create_partition(session, _name_of(first), first, _add_months(first, 1))
        for name in existing:
            if name < _name_of(keep_from):
                queries.drop_partition(session, name)


def list_calls(wanted: CallFilter, *, limit: int) -> list[CallLog]:
    """Return logged calls, newest first."""
    with unit_of_work() as session:
        return queries.list_calls(session, wanted, limit)


def statistics(wanted: CallFilter) -> list[dict[str, Any]]:
    """Return calls, errors, p50, p95 and p99 per group and tool, of what the log still holds."""
    with unit_of_work() as session:
        return queries.call_statistics(session, wanted)


def _last_used(rows: Iterable[dict[str, Any]]) -> dict[UUID, datetime]:
    used: dict[UUID, datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    for row in rows:
        used[row["group_id"]] = max(used[row["group_id"]], row["created_at"])
    return used


def _name_of(first: date) -> str:
    return f"{_PARTITION}{first:%Y_%m}"


def _add_months(first: date, months: int) -> date:
    index = first.year * 12 + first.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
