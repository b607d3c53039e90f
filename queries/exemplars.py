"""A recent journey for each bucket of a duration: what an exemplar on the metrics page points to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from queries.figures import LATENCY_BOUNDS

# Of so many newest rows, none older than this: an exemplar is for what happens now, and must cost a scrape nothing.
ROWS = 1_000
MINUTES = 15


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One journey in the bucket that ends at `le` of a figure under these labels; how long it took, and when it ended."""

    figure: str
    labels: tuple[str, ...]
    le: float
    journey_id: UUID
    seconds: float
    at: datetime


_BUCKET = "(cast(:les AS float8[]))[width_bucket(us - 1, cast(:bounds_us AS bigint[])) + 1]"
# Both read their newest rows through the index on the time they began.
_NEWEST = text(f"""
WITH greeted AS (
    SELECT 'registration_greeting_latency_seconds' AS figure, '{{}}'::text[] AS labels, id AS journey_id, greeted_at AS at,
           (extract(epoch FROM greeted_at - accepted_at) * 1000000)::bigint AS us
    FROM journeys WHERE accepted_at > now() - make_interval(mins => :minutes) AND greeted_at >= accepted_at
    ORDER BY accepted_at DESC LIMIT :rows
),
called AS (
    SELECT 'agent_call_duration_seconds', ARRAY[a.name, coalesce(v.number, 0)::text], c.journey_id, c.finished_at,
           (extract(epoch FROM c.finished_at - c.started_at) * 1000000)::bigint
    FROM agent_calls c JOIN agents a ON a.id = c.agent_id LEFT JOIN agent_versions v ON v.id = c.version_id
    WHERE c.started_at > now() - make_interval(mins => :minutes) AND c.status IN ('succeeded', 'failed')
      AND c.journey_id IS NOT NULL AND c.finished_at >= c.started_at
    ORDER BY c.started_at DESC LIMIT :rows
),
placed AS (SELECT *, {_BUCKET} AS le FROM (SELECT * FROM greeted UNION ALL SELECT * FROM called) AS measured)
SELECT DISTINCT ON (figure, labels, le) figure, labels, le, journey_id, us / 1000000.0::float8 AS seconds, at
FROM placed ORDER BY figure, labels, le, at DESC
""")


def list_exemplars(session: Session) -> Sequence[Exemplar]:
    """Return the newest journey of each bucket."""
    bounds = {
        "les": [*LATENCY_BOUNDS, float("inf")],
        "bounds_us": [round(bound * 1_000_000) for bound in LATENCY_BOUNDS],
    }
    rows = session.execute(_NEWEST, {**bounds, "rows": ROWS, "minutes": MINUTES})
    return [Exemplar(row.figure, tuple(row.labels), row.le, row.journey_id, row.seconds, row.at) for row in rows]
