"""The panel's two JSON answers (requirements A6.4), made of the dashboard's figures. Rates are shares; times milliseconds."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from core.clock import utc_now
from core.database import unit_of_work
from queries.mcp_calls import CallFilter, call_statistics
from services import dashboard, mcp_status
from services.agents_admin import AgentFigures
from services.dashboard import LENGTHS, Dashboard, Window

# As long as the shortest of the dashboard's own stretches is kept.
KEPT_SECONDS = 1.5

_lock = threading.Lock()
_kept: dict[Window, tuple[float, dict[str, Any], dict[str, Any]]] = {}


def metrics(window: Window) -> dict[str, Any]:
    """Return GET registration-automation/metrics: MCP, agents, success, registrations by day, welcomes."""
    found, (mcp, _) = dashboard.read(window), _mcp(window)
    return {
        "mcp_metrics": mcp,
        "dify_agent_status": [_agent(one) for one in found.agents],
        "automation_success_rate": _success_rate(found),
        "daily_registrations": [{"date": day.at.isoformat(), "count": day.accepted} for day in found.figures.days],
        "welcome_message_stats": _welcomes(found),
        "computed_at": found.figures.collected_at.isoformat(),
    }


def overview(window: Window) -> dict[str, Any]:
    """Return GET admin/registration-automation/dashboard: the stretch's figures, errors, and how the system is now."""
    started = time.perf_counter()
    found, (mcp, server) = dashboard.read(window), _mcp(window)
    return {
        "automation_metrics": _automation(found, mcp["calls"]),
        "mcp_server_status": server,
        "mcp_metrics": mcp,
        "dify_agent_status": [_agent(one) for one in found.agents],
        "recent_errors": [
            {
                "at": letter.opened_at.isoformat(),
                "step": letter.step,
                "error_code": letter.error_code,
                "error_text": letter.error_text[:300],
                "journey_id": str(letter.journey_id),
                "dead_letter_id": str(letter.id),
            }
            for letter in found.present.dead_letters
        ],
        "error_types": [
            {"place": one.place, "error_code": one.error_code, "count": one.count, "last_at": one.last_at.isoformat()}
            for one in found.figures.errors
        ],
        "business": _business(found),
        "system_health": {
            "mcp_response_time": _weighted([(tool["p50_ms"], tool["calls"]) for tool in mcp["tools"]]),
            "dify_response_time": _weighted([(one.figures.p50_ms, one.figures.succeeded) for one in found.agents]),
            # Without the database there is no answer at all: 503 says so.
            "database_status": "ok",
            "broker_status": "ok" if found.present.queues is not None else "unreachable",
            "queues": found.present.queues,
            "workers": len(found.present.workers),
            "consultants_connected": found.present.consultants_connected,
            "cpu_share": found.present.machine.cpu_share,
            "memory_share": found.present.machine.memory_share,
            "network_sent_bytes": found.present.machine.sent_bytes,
            "network_received_bytes": found.present.machine.received_bytes,
            "database_bytes": found.present.machine.database_bytes,
            "answered_in_ms": round((time.perf_counter() - started) * 1000, 2),
        },
        "computed_at": found.figures.collected_at.isoformat(),
    }


def forget() -> None:
    """Compute anew at the next call. For tests, which change the record behind its back."""
    dashboard.forget()
    with _lock:
        _kept.clear()


def _mcp(window: Window) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the calls of all tools in the stretch, and the server as it is."""
    with _lock:
        kept = _kept.get(window)
        if kept is None or time.monotonic() - kept[0] >= KEPT_SECONDS:
            with unit_of_work() as session:
                rows = call_statistics(session, CallFilter(from_at=utc_now() - LENGTHS[window]))
            kept = (time.monotonic(), _calls(rows), mcp_status.describe())
            _kept[window] = kept
        return kept[1], kept[2]


def _calls(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    calls, errors = sum(row["calls"] for row in rows), sum(row["errors"] for row in rows)
    tools = [row | {"error_rate": _share(row["errors"], row["calls"])} for row in rows]
    return {"calls": calls, "errors": errors, "error_rate": _share(errors, calls), "tools": tools}


def _automation(found: Dashboard, mcp_calls: int) -> dict[str, Any]:
    journeys = found.figures.journeys
    return {
        "success_rate": _success_rate(found),
        "total_automations": journeys.accepted,
        "registrations_today": found.figures.today,
        "succeeded": journeys.succeeded,
        "running": journeys.running,
        "failed": journeys.failed,
        "skipped": journeys.skipped,
        "cancelled": journeys.cancelled,
        "mcp_call_count": mcp_calls,
        "dify_call_count": sum(one.figures.calls for one in found.agents),
        # The median from acceptance to greeting: an average would be the slowest customer's.
        "average_response_time": journeys.greeting_p50_ms,
        "daily_trends": [
            {"date": day.at.isoformat(), "registrations": day.accepted, "failed": day.failed}
            for day in found.figures.days
        ],
        "steps": [
            {
                "step": one.step,
                "attempts": one.attempts,
                "success_rate": _share(one.succeeded, one.attempts),
                "average_ms": one.average_ms,
                "p50_ms": one.p50_ms,
                "p95_ms": one.p95_ms,
            }
            for one in found.steps
        ],
        "objective": {
            "target_ms": dashboard.TARGET_MS,
            "kept": found.figures.objective.kept,
            "budget_left": found.figures.objective.budget_left,
        },
        "dead_letters_open": found.present.dead_letters_open,
    }


def _success_rate(found: Dashboard) -> float | None:
    """Of the journeys that came to an end; one that was skipped or cancelled by intention counts neither way."""
    return _share(found.figures.journeys.succeeded, found.figures.journeys.succeeded + found.figures.journeys.failed)


def _welcomes(found: Dashboard) -> dict[str, Any]:
    journeys = found.figures.journeys
    total = journeys.by_agent + journeys.by_template
    return {
        "total": total,
        "by_agent": journeys.by_agent,
        "by_template": journeys.by_template,
        "agent_share": _share(journeys.by_agent, total),
        "p50_ms": journeys.greeting_p50_ms,
        "p95_ms": journeys.greeting_p95_ms,
        "p99_ms": journeys.greeting_p99_ms,
        "in_time_share": found.figures.objective.kept,
        "ratings": found.figures.business.ratings,
        "rating_average": found.figures.business.rating,
    }


def _agent(one: AgentFigures) -> dict[str, Any]:
    figures = one.figures
    return {
        "agent_id": str(one.agent_id),
        "name": one.agent_name,
        "version": one.version_number,
        "circuit": one.circuit,
        "calls": figures.calls,
        "success_rate": _share(figures.finished - figures.errors, figures.finished),
        "p50_ms": figures.p50_ms,
        "p99_ms": figures.p99_ms,
        "rating_average": figures.rating_mean,
    }


def _business(found: Dashboard) -> dict[str, Any]:
    figures = found.figures.business
    return {
        "welcome_ratings": figures.ratings,
        "welcome_rating_average": figures.rating,
        "claims": figures.claims,
        "claim_p50_ms": figures.claim_p50_ms,
        "claims_in_time_share": _share(figures.claims_in_time, figures.claims),
        "first_responses": figures.first_responses,
        "first_response_p50_ms": figures.first_response_p50_ms,
        "conversion_share": _share(figures.conversed, figures.registered),
    }


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _weighted(medians: Sequence[tuple[float | None, int]]) -> float | None:
    """Return the medians' mean, weighted by their calls."""
    timed = [(median, calls) for median, calls in medians if median is not None and calls]
    total = sum(calls for _, calls in timed)
    return round(sum(median * calls for median, calls in timed) / total, 2) if total else None
