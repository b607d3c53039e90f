"""Agent versions, their circuits, and what their calls came to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.database import Statements
from models import AgentCall, AgentCircuit, AgentVersion, VersionStatus


def list_versions(session: Session, *, statuses: Collection[VersionStatus] | None = None) -> list[AgentVersion]:
    """Return versions of all agents, by agent and number; those of the statuses only, where given."""
    wanted = select(AgentVersion).order_by(AgentVersion.agent_id, AgentVersion.number)
    if statuses is not None:
        wanted = wanted.where(AgentVersion.status.in_(statuses))
    return list(session.scalars(wanted))


def lock_version(session: Session, version_id: UUID) -> AgentVersion | None:
    """Return the version, its row locked until the transaction ends; None when it is gone."""
    return session.scalars(select(AgentVersion).where(AgentVersion.id == version_id).with_for_update()).first()


def clock(session: Statements) -> datetime:
    """Return the database's clock as of this statement: circuits are timed by it, whoever asks."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


_CIRCUITS = select(AgentCircuit.__table__)


def list_circuits(session: Statements) -> Sequence[Row[Any]]:
    """Return the circuits that ever had something to note, as rows with the model's columns."""
    return session.execute(_CIRCUITS).all()


def find_circuit(session: Session, key: UUID) -> AgentCircuit | None:
    """Return one version's circuit, or None while it never had anything to note."""
    return session.get(AgentCircuit, key)


def lock_circuits(session: Session, agent_ids: Mapping[UUID, UUID]) -> list[AgentCircuit]:
    """Return the circuits of these keys (each with its agent), made where missing, locked in one order for everybody."""
    rows = [{"id": key, "agent_id": agent_ids[key]} for key in sorted(agent_ids)]
    if not rows:
        return []
    session.execute(insert(AgentCircuit).values(rows).on_conflict_do_nothing())
    wanted = select(AgentCircuit).where(AgentCircuit.id.in_(agent_ids)).order_by(AgentCircuit.id).with_for_update()
    return list(session.scalars(wanted.execution_options(populate_existing=True)))


def delete_circuits(session: Session, agent_id: UUID) -> None:
    """Forget the circuits of an agent and its versions."""
    session.execute(delete(AgentCircuit).where(AgentCircuit.agent_id == agent_id))


_RUNNING = text("""
SELECT coalesce(version_id, agent_id) AS key, count(*) AS calls
FROM agent_calls
WHERE status = 'running' AND started_at > clock_timestamp() - make_interval(secs => :within_seconds)
GROUP BY 1
""")


def count_running(session: Statements, *, within_seconds: float) -> dict[UUID, int]:
    """Return how many calls each version has open. Calls begun earlier belong to processes that died."""
    return {row.key: row.calls for row in session.execute(_RUNNING, {"within_seconds": within_seconds})}


def list_refused(session: Session, *, most: int, before: datetime | None = None) -> list[AgentCall]:
    """Return calls whose answer the guard refused, newest first (index ix_agent_calls_refused)."""
    wanted = select(AgentCall).where(AgentCall.refusal.is_not(None)).order_by(AgentCall.started_at.desc()).limit(most)
    return list(session.scalars(wanted if before is None else wanted.where(AgentCall.started_at < before)))


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What one version's calls came to; the fields are those of services.gateway.statistics.VersionFigures."""

    version_id: UUID
    journeys: int
    calls: int
    succeeded: int
    failed: int
    refused: int
    fallbacks: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    median_ms_low: float | None
    median_ms_high: float | None
    total_tokens: int
    total_price: float
    ratings: int
    rating_mean: float | None
    rating_deviation: float | None


# The median's bounds are the sample's values at the ranks n/2 ± 1.96·√n/2 (order statistics; no distribution assumed).
# Tokens and prices are the provider's own words, so only what is a number is added up.
_OUTCOMES = text(r"""
WITH ended AS (
    SELECT CASE WHEN :merged THEN CAST(:merged_id AS uuid) ELSE coalesce(c.version_id, c.agent_id) END AS key,
           c.journey_id, c.status, c.refusal, c.duration_ms, c.usage, j.greeted_by
    FROM agent_calls c LEFT JOIN journeys j ON j.id = c.journey_id
    WHERE c.started_at >= :since AND c.status <> 'running' AND coalesce(c.error_code, '') <> ALL(:uncounted)
      AND (CAST(:keys AS uuid[]) IS NULL OR coalesce(c.version_id, c.agent_id) = ANY(CAST(:keys AS uuid[])))
),
counted AS (
    SELECT key, count(DISTINCT journey_id) AS journeys, count(*) AS calls,
           count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE refusal IS NOT NULL) AS refused,
           count(DISTINCT journey_id) FILTER (WHERE greeted_by = 'template') AS fallbacks,
           coalesce(sum(CASE WHEN jsonb_typeof(usage -> 'total_tokens') = 'number'
                             THEN least((usage ->> 'total_tokens')::numeric, 1e9) END), 0)::bigint AS total_tokens,
           coalesce(sum(CASE WHEN usage ->> 'total_price' ~ '^\d{1,9}(\.\d{1,12})?$'
                             THEN (usage ->> 'total_price')::numeric END), 0)::float AS total_price
    FROM ended GROUP BY key
),
answered AS (
    SELECT key, duration_ms, count(*) OVER (PARTITION BY key) AS n
    FROM ended WHERE status = 'succeeded' AND duration_ms IS NOT NULL
),
timed AS (
    SELECT key, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) AS p50_ms,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_ms) AS p99_ms,
           percentile_disc(greatest(0.5 - 0.98 / sqrt(n::float), 0.0)) WITHIN GROUP (ORDER BY duration_ms) AS median_ms_low,
           percentile_disc(least(0.5 + 0.98 / sqrt(n::float), 1.0)) WITHIN GROUP (ORDER BY duration_ms) AS median_ms_high
    FROM answered GROUP BY key, n
),
welcomed AS (
    SELECT DISTINCT key, journey_id FROM ended WHERE status = 'succeeded' AND refusal IS NULL
),
rated AS (
    SELECT w.key, count(*) AS ratings, avg(f.rating)::float AS rating_mean,
           coalesce(stddev_samp(f.rating), 0)::float AS rating_deviation
    FROM welcomed w
    JOIN messages m ON m.journey_id = w.journey_id AND m.source = 'agent'
    JOIN feedback f ON f.message_id = m.id
    GROUP BY w.key
)
SELECT c.key AS version_id, c.journeys, c.calls, c.succeeded, c.failed, c.refused, c.fallbacks, t.p50_ms, t.p95_ms, t.p99_ms,
       t.median_ms_low, t.median_ms_high, c.total_tokens, c.total_price, coalesce(r.ratings, 0) AS ratings, r.rating_mean,
       r.rating_deviation
FROM counted c LEFT JOIN timed t USING (key) LEFT JOIN rated r USING (key)
ORDER BY c.key
""")


def list_outcomes(
    session: Session,
    *,
    since: datetime,
    uncounted: Sequence[str],
    keys: Collection[UUID] | None = None,
    merged_as: UUID | None = None,
) -> list[OutcomeRow]:
    """Return what calls begun since then came to, by version (by agent where it has none), or all as one row.

    `uncounted` are error codes that say nothing about the agent. Reads agent_calls by ix_agent_calls_started_at.
    """
    parameters = {
        "since": since,
        "uncounted": list(uncounted),
        "keys": None if keys is None else list(keys),
        "merged": merged_as is not None,
        "merged_id": merged_as,
    }
    return [OutcomeRow(**row._mapping) for row in session.execute(_OUTCOMES, parameters)]
