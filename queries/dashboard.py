"""What the dashboard shows, for a stretch of time that ends now; every statement reads by an index on time."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class JourneyCounts:
    """Journeys accepted in the stretch, by what became of them, and how the greetings kept their time."""

    accepted: int
    succeeded: int
    running: int
    failed: int
    skipped: int
    cancelled: int
    due: int
    in_time: int
    by_agent: int
    by_template: int
    greeting_p50_ms: float | None
    greeting_p95_ms: float | None
    greeting_p99_ms: float | None
    conversation_p50_ms: float | None
    conversation_p99_ms: float | None


# A greeting is due the target's time after acceptance; younger journeys are not judged yet.
_JOURNEYS = text("""
WITH j AS (
    SELECT status, accepted_at, greeted_by, greeted_at,
           extract(epoch FROM greeted_at - accepted_at) * 1000 AS greeting_ms,
           extract(epoch FROM conversation_at - accepted_at) * 1000 AS conversation_ms
    FROM journeys WHERE accepted_at >= :since
)
SELECT count(*) AS accepted,
       count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE status IN ('accepted', 'running')) AS running,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'skipped') AS skipped,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       count(*) FILTER (WHERE d.is_due) AS due,
       count(*) FILTER (WHERE d.is_due AND greeting_ms <= :target_ms) AS in_time,
       count(*) FILTER (WHERE greeted_by = 'agent') AS by_agent,
       count(*) FILTER (WHERE greeted_by = 'template') AS by_template,
       (percentile_cont(0.5) WITHIN GROUP (ORDER BY greeting_ms))::float8 AS greeting_p50_ms,
       (percentile_cont(0.95) WITHIN GROUP (ORDER BY greeting_ms))::float8 AS greeting_p95_ms,
       (percentile_cont(0.99) WITHIN GROUP (ORDER BY greeting_ms))::float8 AS greeting_p99_ms,
       (percentile_cont(0.5) WITHIN GROUP (ORDER BY conversation_ms))::float8 AS conversation_p50_ms,
       (percentile_cont(0.99) WITHIN GROUP (ORDER BY conversation_ms))::float8 AS conversation_p99_ms
FROM j CROSS JOIN LATERAL (
    SELECT accepted_at <= now() - make_interval(secs => :target_ms / 1000.0) AND status NOT IN ('skipped') AS is_due
) d
""")


def count_journeys(session: Session, since: datetime, *, target_ms: float) -> JourneyCounts:
    """Return what became of journeys accepted since then (ix_journeys_accepted_at)."""
    return JourneyCounts(**session.execute(_JOURNEYS, {"since": since, "target_ms": target_ms}).one()._mapping)


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One hour or day, by its beginning: registrations accepted, and dead letters opened."""

    at: datetime
    accepted: int
    failed: int


_TREND = text("""
WITH slots AS (
    SELECT generate_series(date_trunc(:unit, now(), :zone) - (:slots - 1) * CAST('1 ' || :unit AS interval),
                           date_trunc(:unit, now(), :zone), CAST('1 ' || :unit AS interval)) AS at
),
accepted AS (
    SELECT date_trunc(:unit, accepted_at, :zone) AS at, count(*) AS n FROM journeys
    WHERE accepted_at >= (SELECT min(at) FROM slots) GROUP BY 1
),
failed AS (
    SELECT date_trunc(:unit, opened_at, :zone) AS at, count(DISTINCT journey_id) AS n FROM dead_letters
    WHERE opened_at >= (SELECT min(at) FROM slots) GROUP BY 1
)
SELECT s.at, coalesce(a.n, 0) AS accepted, coalesce(f.n, 0) AS failed
FROM slots s LEFT JOIN accepted a USING (at) LEFT JOIN failed f USING (at) ORDER BY s.at
""")


def list_trend(session: Session, *, unit: str, slots: int, zone: str) -> list[TrendPoint]:
    """Return the last `slots` hours or days, the present one last; `zone` decides where a day begins."""
    rows = session.execute(_TREND, {"unit": unit, "slots": slots, "zone": zone})
    return [TrendPoint(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What the attempts at one step came to."""

    step: str
    attempts: int
    succeeded: int
    failed: int
    lost: int
    average_ms: float | None
    p50_ms: float | None
    p95_ms: float | None


_STEPS = text("""
SELECT step, count(*) AS attempts,
       count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE outcome = 'failed') AS failed,
       count(*) FILTER (WHERE outcome = 'lost') AS lost,
       avg(duration_ms)::float8 AS average_ms,
       (percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms))::float8 AS p50_ms,
       (percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms))::float8 AS p95_ms
FROM step_attempts WHERE started_at >= :since AND outcome <> 'running' GROUP BY step
""")


def list_steps(session: Session, since: datetime) -> list[StepFigures]:
    """Return attempts that began since then and ended, by step (ix_step_attempts_started_at)."""
    return [StepFigures(**row._mapping) for row in session.execute(_STEPS, {"since": since})]


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How often one error came up at one place, and when last."""

    place: str
    error_code: str
    count: int
    last_at: datetime


_ERRORS = text("""
SELECT step AS place, coalesce(error_code, 'UNKNOWN') AS error_code, count(*) AS count, max(started_at) AS last_at
FROM step_attempts WHERE started_at >= :since AND outcome IN ('failed', 'lost') GROUP BY 1, 2
UNION ALL
SELECT a.name, coalesce(c.error_code, 'UNKNOWN'), count(*), max(c.started_at)
FROM agent_calls c JOIN agents a ON a.id = c.agent_id
WHERE c.started_at >= :since AND c.status = 'failed' GROUP BY 1, 2
ORDER BY count DESC, place LIMIT :most
""")


def list_errors(session: Session, since: datetime, *, most: int) -> list[ErrorCount]:
    """Return the most frequent errors of steps and agents."""
    return [ErrorCount(**row._mapping) for row in session.execute(_ERRORS, {"since": since, "most": most})]


@dataclass(frozen=True, slots=True)
class BusinessFigures:
    """How customers fared: first answer of a person, claims, ratings, and conversations within a week."""

    first_response_p50_ms: float | None
    first_responses: int
    claim_p50_ms: float | None
    claims: int
    claims_in_time: int
    rating: float | None
    ratings: int
    registered: int
    conversed: int


_BUSINESS = text("""
WITH answers AS (
    SELECT extract(epoch FROM min(m.created_at) - c.created_at) * 1000 AS ms
    FROM messages m JOIN conversations c ON c.id = m.conversation_id
    WHERE c.created_at >= :since AND m.sender_type = 'consultant' GROUP BY c.id, c.created_at
),
claimed AS (
    SELECT waited_ms FROM claims WHERE claimed_at >= :since
),
rated AS (
    SELECT f.rating FROM feedback f JOIN messages m ON m.id = f.message_id
    WHERE f.created_at >= :since AND m.source IS NOT NULL
),
of_week AS (
    SELECT EXISTS (SELECT FROM conversations c JOIN messages m ON m.conversation_id = c.id
                   WHERE c.customer_id = j.user_id AND m.sender_type = 'customer') AS wrote
    FROM journeys j WHERE j.accepted_at >= now() - interval '7 days' AND j.status <> 'skipped'
    ORDER BY j.accepted_at DESC LIMIT :most
)
SELECT (SELECT (percentile_cont(0.5) WITHIN GROUP (ORDER BY ms))::float8 FROM answers) AS first_response_p50_ms,
       (SELECT count(*) FROM answers) AS first_responses,
       (SELECT (percentile_cont(0.5) WITHIN GROUP (ORDER BY waited_ms))::float8 FROM claimed) AS claim_p50_ms,
       (SELECT count(*) FROM claimed) AS claims,
       (SELECT count(*) FROM claimed WHERE waited_ms <= :claim_target_ms) AS claims_in_time,
       (SELECT avg(rating)::float8 FROM rated) AS rating,
       (SELECT count(*) FROM rated) AS ratings,
       (SELECT count(*) FROM of_week) AS registered,
       (SELECT count(*) FROM of_week WHERE wrote) AS conversed
""")


def get_business(session: Session, since: datetime, *, claim_target_ms: int, most: int) -> BusinessFigures:
    """Return the business figures; who conversed is looked up for at most `most` of the week's customers."""
    parameters = {"since": since, "claim_target_ms": claim_target_ms, "most": most}
    return BusinessFigures(**session.execute(_BUSINESS, parameters).one()._mapping)
