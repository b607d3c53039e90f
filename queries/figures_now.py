"""Figures that are a state, not a count: what is open at this moment, who is there; and what processes report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Now:
    """The engine's state at one moment. The two `recent` figures are of journeys whose greeting is not due yet."""

    dead_letters_open: int
    oldest_open_journey_seconds: float
    ungreeted_overdue: int
    recent_accepted: int
    recent_greeted: int
    consultants_connected: int
    database_bytes: int


# Each part is answered by an index that holds only what is open, or only the last seconds.
_NOW = text("""
SELECT (SELECT count(*) FROM dead_letters WHERE status = 'open') AS dead_letters_open,
       coalesce((SELECT extract(epoch FROM now() - min(accepted_at))::float8 FROM journeys
                 WHERE status IN ('accepted', 'running')), 0) AS oldest_open_journey_seconds,
       (SELECT count(*) FROM journeys WHERE greeted_at IS NULL AND greet_by_at IS NOT NULL AND finished_at IS NULL
            AND greet_by_at < now() - make_interval(secs => :grace_seconds)) AS ungreeted_overdue,
       r.accepted AS recent_accepted, r.greeted AS recent_greeted,
       (SELECT count(DISTINCT consultant_id) FROM consultant_connections WHERE expires_at > now()) AS consultants_connected,
       pg_database_size(current_database()) AS database_bytes
FROM (SELECT count(*) AS accepted,
             count(*) FILTER (WHERE greeted_at <= accepted_at + make_interval(secs => :target_seconds)) AS greeted
      FROM journeys WHERE accepted_at > now() - make_interval(secs => :target_seconds) AND status <> 'skipped') AS r
""")


def get_now(session: Session, *, target_seconds: float, grace_seconds: float) -> Now:
    """Return the engine's state: `target_seconds` is when a greeting is due, `grace_seconds` how late is overdue."""
    row = session.execute(_NOW, {"target_seconds": target_seconds, "grace_seconds": grace_seconds}).one()
    return Now(**row._mapping)


_OPEN = text("""
SELECT status, count(*) AS journeys FROM journeys WHERE status IN ('accepted', 'running', 'failed') GROUP BY status
""")


def count_open_journeys(session: Session) -> dict[str, int]:
    """Return how many journeys are open, by status; a status without any is missing."""
    return {row.status: row.journeys for row in session.execute(_OPEN)}


_CIRCUITS = text("""
SELECT a.name, coalesce(max(CASE c.state WHEN 'open' THEN 2 WHEN 'half_open' THEN 1 ELSE 0 END), 0) AS state
FROM agents a LEFT JOIN agent_circuits c ON c.agent_id = a.id WHERE a.enabled GROUP BY a.name
""")


def list_circuits(session: Session) -> dict[str, int]:
    """Return the enabled agents with the worst state of their versions' circuits: 0 closed, 1 half open, 2 open."""
    return {row.name: row.state for row in session.execute(_CIRCUITS)}


_WEBHOOKS = text("SELECT outcome, sum(count)::bigint AS requests FROM webhook_outcomes GROUP BY outcome")


def list_webhook_outcomes(session: Session) -> dict[str, int]:
    """Return how many webhook requests ended each way, as far as their processes have written it."""
    return {row.outcome: row.requests for row in session.execute(_WEBHOOKS)}


_WRITE_WEBHOOKS = text("""
INSERT INTO webhook_outcomes (writer_id, outcome, count, written_at)
SELECT :writer_id, outcome, count, now()
FROM unnest(CAST(:outcomes AS text[]), CAST(:counts AS bigint[])) AS o(outcome, count) ORDER BY outcome
ON CONFLICT (writer_id, outcome) DO UPDATE
SET count = greatest(webhook_outcomes.count, excluded.count), written_at = excluded.written_at
""")


def write_webhook_outcomes(session: Session, writer_id: UUID, counts: Mapping[str, int]) -> None:
    """Write what one writer has counted since it began. Idempotent: the figures are absolute and only grow."""
    parameters = {"writer_id": writer_id, "outcomes": list(counts), "counts": list(counts.values())}
    session.execute(_WRITE_WEBHOOKS, parameters)


_FOLD_WEBHOOKS = text("""
WITH old AS (
    DELETE FROM webhook_outcomes WHERE writer_id <> :keeper_id AND written_at < now() - make_interval(secs => :older_than_seconds)
    RETURNING outcome, count
)
INSERT INTO webhook_outcomes AS w (writer_id, outcome, count)
SELECT :keeper_id, outcome, sum(count)::bigint FROM old GROUP BY outcome ORDER BY outcome
ON CONFLICT (writer_id, outcome) DO UPDATE SET count = w.count + excluded.count
""")


def fold_webhook_outcomes(session: Session, keeper_id: UUID, *, older_than_seconds: float) -> None:
    """Add the rows of writers that have long given up their id to the keeper's. The caller holds the rolling lock."""
    session.execute(_FOLD_WEBHOOKS, {"keeper_id": keeper_id, "older_than_seconds": older_than_seconds})


_BEAT = text("""
INSERT INTO worker_heartbeats (id, role, pid, host, queues, last_task_at, clock_ahead_seconds)
VALUES (:id, :role, :pid, :host, :queues, :last_task_at, extract(epoch FROM :clock_at - clock_timestamp())::float8)
ON CONFLICT (id) DO UPDATE SET seen_at = now(), queues = excluded.queues,
    last_task_at = greatest(worker_heartbeats.last_task_at, excluded.last_task_at),
    clock_ahead_seconds = excluded.clock_ahead_seconds
""")


def write_heartbeat(
    session: Session,
    *,
    id: str,
    role: str,
    pid: int,
    host: str,
    queues: Sequence[str],
    last_task_at: datetime | None,
    clock_at: datetime,
) -> None:
    """Say that this worker is there and what its clock shows, and drop those not heard of for a day."""
    parameters = {
        "id": id,
        "role": role,
        "pid": pid,
        "host": host,
        "queues": list(queues),
        "last_task_at": last_task_at,
        "clock_at": clock_at,
    }
    session.execute(_BEAT, parameters)
    session.execute(text("DELETE FROM worker_heartbeats WHERE seen_at < now() - interval '1 day'"))


def delete_heartbeat(session: Session, id: str) -> None:
    """Take a worker that leaves off the list."""
    session.execute(text("DELETE FROM worker_heartbeats WHERE id = :id"), {"id": id})


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A worker that was heard of lately, with the ages in seconds by the database's clock."""

    id: str
    role: str
    host: str
    pid: int
    queues: list[str]
    seen_seconds_ago: float
    last_task_seconds_ago: float | None
    clock_ahead_seconds: float | None


_ALIVE = text("""
SELECT id, role, host, pid, queues, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS seen_seconds_ago,
       extract(epoch FROM clock_timestamp() - last_task_at)::float8 AS last_task_seconds_ago, clock_ahead_seconds
FROM worker_heartbeats WHERE seen_at > now() - make_interval(secs => :within_seconds) ORDER BY id
""")


def list_heartbeats(session: Session, *, within_seconds: float) -> list[Heartbeat]:
    """Return the workers heard of within so many seconds."""
    return [Heartbeat(**row._mapping) for row in session.execute(_ALIVE, {"within_seconds": within_seconds})]
