"""The MCP figures of the metrics page: from the running totals, so right over restarts, processes and the log's retention."""

from typing import NamedTuple

from core.database import unit_of_work
from queries import mcp_calls as queries
from services.mcp_calls import BUCKETS_SECONDS


class ToolCalls(NamedTuple):
    """mcp_tool_calls_total{tool,group,outcome}."""

    tool: str
    group: str
    outcome: str
    calls: int


class ToolDurations(NamedTuple):
    """mcp_tool_call_duration_seconds{tool}: cumulated counts per upper bound (the last is +Inf), and the sum."""

    tool: str
    cumulated: list[tuple[float, int]]
    sum_seconds: float


class McpFigures(NamedTuple):
    calls: list[ToolCalls]
    durations: list[ToolDurations]


def collect() -> McpFigures:
    """Return the figures as stored; calls of the last moments (see the call log's writer) may still be missing."""
    with unit_of_work() as session:
        totals = queries.list_totals(session)
    calls = [ToolCalls(total.tool_name, total.group_name, total.outcome, total.calls) for total in totals]
    durations = []
    for tool in sorted({total.tool_name for total in totals}):
        of_tool = [total for total in totals if total.tool_name == tool]
        counts = [sum(column) for column in zip(*(total.buckets for total in of_tool), strict=True)]
        cumulated, running = [], 0
        for bound, count in zip((*BUCKETS_SECONDS, float("inf")), counts, strict=True):
            running += count
            cumulated.append((bound, running))
        durations.append(ToolDurations(tool, cumulated, sum(total.duration_seconds for total in of_tool)))
    return McpFigures(calls, durations)
