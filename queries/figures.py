"""Figures from the record: what each table counts, what is rolled up of it, and what is counted live on top.

A figure is the sum of its totals, which hold every settled row before the table's watermark, and of a live count of
the rest: the rows since the watermark and the few before it that may still change. See docs/decisions/0007-figures.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

INFINITE = float("inf")
LATENCY_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
WORK_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
CLAIM_BOUNDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
RATING_BOUNDS = (1.0, 2.0, 3.0, 4.0, 5.0)
# Nobody who registered should wait longer than this for a greeting: the service level the alerts are about.
GREETING_TARGET_SECONDS = 3.0


class Event(NamedTuple):
    """What one row adds to one figure, as SQL over the row `t`: labels, when it counts, and a duration in microseconds."""

    figure: str
    labels: tuple[str, ...]
    when: str
    value_us: str | None = None
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A table whose rows are counted. `key` is a time written once, by the database's clock, at insertion; a row that is
    `settled` never again changes what it adds."""

    name: str
    key: str
    columns: str
    settled: str
    events: tuple[Event, ...]
    joins: str = ""
    condition: str = "true"
    table: str = ""
    # A time written when a row settles, by the database's clock and indexed: where pending rows need not be looked at one
    # by one. Only for rows that add nothing before they are settled.
    settled_at: str | None = None

    @property
    def rows_of(self) -> str:
        return self.table or self.name


def _us(since: str, until: str) -> str:
    return f"greatest(0, extract(epoch FROM {until} - {since}) * 1000000)::bigint"


# When a step's first attempt could begin at the earliest: when the step before it was done.
_FIRST_DUE = """CASE s.step WHEN 'create_conversation' THEN j.accepted_at WHEN 'generate_welcome' THEN j.conversation_at
    ELSE j.greeted_at END"""

SOURCES: tuple[Source, ...] = (
    Source(
        name="journeys",
        key="accepted_at",
        columns="s.id, s.status, s.accepted_at, s.conversation_at, s.greeted_at",
        settled="(s.conversation_at IS NOT NULL AND s.greeted_at IS NOT NULL) OR s.finished_at IS NOT NULL",
        events=(
            Event("registration_journeys_accepted_total", (), "status <> 'skipped'"),
            Event(
                "registration_conversation_latency_seconds",
                (),
                "conversation_at IS NOT NULL",
                _us("accepted_at", "conversation_at"),
                LATENCY_BOUNDS,
            ),
            Event(
                "registration_greeting_latency_seconds",
                (),
                "greeted_at IS NOT NULL",
                _us("accepted_at", "greeted_at"),
                LATENCY_BOUNDS,
            ),
        ),
    ),
    # By itself, because a journey with a dead letter may stay unfinished for long, and there may be many of them.
    Source(
        name="journey_ends",
        table="journeys",
        key="accepted_at",
        columns="s.id, s.status, s.finished_at",
        settled="s.finished_at IS NOT NULL",
        settled_at="finished_at",
        events=(
            Event(
                "registration_journeys_total",
                ("status",),
                "finished_at IS NOT NULL AND status IN ('succeeded', 'skipped', 'cancelled')",
            ),
        ),
    ),
    Source(
        name="step_attempts",
        key="started_at",
        columns=f"s.id, s.step, s.outcome, s.attempt, s.started_at, s.finished_at, {_FIRST_DUE} AS first_due_at",
        joins="JOIN journeys j ON j.id = s.journey_id",
        settled="s.outcome <> 'running'",
        events=(
            Event("registration_step_attempts_total", ("step", "outcome"), "outcome <> 'running'"),
            Event(
                "registration_step_duration_seconds",
                ("step",),
                "outcome IN ('succeeded', 'failed')",
                _us("started_at", "finished_at"),
                WORK_BOUNDS,
            ),
            # Of first attempts: how long a message and its step stood in the queue. Settled rows only, as the totals hold.
            Event(
                "registration_queue_wait_seconds",
                ("step",),
                "attempt = 1 AND outcome <> 'running' AND first_due_at <= started_at",
                _us("first_due_at", "started_at"),
                WORK_BOUNDS,
            ),
        ),
    ),
    Source(
        name="dead_letters",
        key="opened_at",
        columns="""s.id, s.step, NOT EXISTS (SELECT FROM dead_letters e WHERE e.journey_id = s.journey_id
            AND (e.opened_at, e.id) < (s.opened_at, s.id)) AS is_first""",
        settled="true",
        events=(
            Event("registration_journeys_total", ("'failed'",), "is_first"),
            Event("registration_dead_letters_total", ("step",), "true"),
        ),
    ),
    Source(
        name="messages",
        key="created_at",
        columns="s.id, s.source, s.created_at, j.accepted_at",
        joins="JOIN journeys j ON j.id = s.journey_id",
        condition="s.source IS NOT NULL",
        settled="true",
        events=(
            Event(
                "registration_welcome_latency_seconds",
                ("source",),
                "true",
                _us("accepted_at", "created_at"),
                LATENCY_BOUNDS,
            ),
        ),
    ),
    Source(
        name="agent_calls",
        key="started_at",
        # Versions count from 1; 0 is an agent without any. A call whose process died is never ended: after an hour, longer
        # than any timeout, it is lost, so that no such row has to be looked at for ever.
        columns="s.id, CASE WHEN s.status = 'running' AND s.started_at < now() - interval '1 h' THEN 'lost' ELSE s.status END AS status,"
        " s.started_at, s.finished_at, a.name AS agent, coalesce(v.number, 0)::text AS version",
        joins="JOIN agents a ON a.id = s.agent_id LEFT JOIN agent_versions v ON v.id = s.version_id",
        settled="s.status <> 'running' OR s.started_at < now() - interval '1 h'",
        events=(
            Event("agent_calls_total", ("agent", "version", "status"), "status <> 'running'"),
            Event(
                "agent_call_duration_seconds",
                ("agent", "version"),
                "status IN ('succeeded', 'failed')",
                _us("started_at", "finished_at"),
                LATENCY_BOUNDS,
            ),
        ),
    ),
    Source(
        name="notifications",
        key="created_at",
        columns="s.id, s.channel, s.status",
        settled="s.status <> 'pending'",
        events=(
            Event(
                "consultant_notifications_total",
                ("channel", "CASE status WHEN 'failed' THEN 'failed' ELSE 'sent' END"),
                "status <> 'pending'",
            ),
        ),
    ),
    Source(
        name="claims",
        key="claimed_at",
        columns="""s.id, s.waited_ms, NOT EXISTS (SELECT FROM claims e WHERE e.conversation_id = s.conversation_id
            AND (e.claimed_at, e.id) < (s.claimed_at, s.id)) AS is_first""",
        settled="true",
        # A conversation handed on was answered long ago: only the first claim says how long a customer waited.
        events=(Event("consultant_claim_seconds", (), "is_first", "waited_ms * 1000::bigint", CLAIM_BOUNDS),),
    ),
    Source(
        name="feedback",
        key="created_at",
        columns="s.id, s.rating",
        joins="JOIN messages m ON m.id = s.message_id",
        condition="m.source IS NOT NULL",
        settled="true",
        # A rating is no duration; one point is one second here and one point again on the page.
        events=(Event("welcome_feedback_rating", (), "true", "rating * 1000000::bigint", RATING_BOUNDS),),
    ),
)


class Count(NamedTuple):
    """Events of a figure under these labels, in the bucket that ends at `le`, and the sum of their durations."""

    figure: str
    labels: tuple[str, ...]
    le: float
    events: int
    sum_us: int


def _counted(event: Event, condition: str) -> str:
    labels = f"ARRAY[{', '.join(event.labels)}]::text[]"
    if event.value_us is None:
        return (
            f"SELECT '{event.figure}' AS figure, {labels} AS labels, 'Infinity'::float8 AS le, 0::bigint AS us "
            f"FROM picked WHERE {condition} AND {event.when}"
        )
    bounds = ", ".join(str(bound) for bound in event.bounds)
    bounds_us = ", ".join(str(round(bound * 1_000_000)) for bound in event.bounds)
    # A bucket holds what is at most its bound; width_bucket asks for less than it, hence the microsecond.
    le = f"(ARRAY[{bounds}, 'Infinity']::float8[])[width_bucket(us - 1, ARRAY[{bounds_us}]::bigint[]) + 1]"
    return (
        f"SELECT '{event.figure}' AS figure, labels, {le} AS le, us FROM (SELECT {labels} AS labels, {event.value_us} AS us "
        f"FROM picked WHERE {condition} AND {event.when}) AS e"
    )


def _sums(source: Source, condition: str = "true") -> str:
    events = "\n    UNION ALL ".join(_counted(event, condition) for event in source.events)
    return f"SELECT figure, labels, le, count(*) AS count, sum(us)::bigint AS sum_us FROM (\n    {events}) AS e GROUP BY 1, 2, 3"


def _rows(source: Source, columns: str, since: str, *, by_settled_at: bool) -> str:
    """Rows from the watermark on, and the pending ones before it that may count by now."""
    rows = f"SELECT {columns} FROM {source.rows_of} s {source.joins} WHERE ({source.condition})"
    pending = f"SELECT row_id FROM figure_pending WHERE source = '{source.name}'"
    if by_settled_at:
        # Whatever settled after the last round was not visible to it, so began, and was stamped, after its horizon.
        before = f"{rows} AND s.{source.settled_at} >= {since} AND s.{source.key} < {since} AND s.id IN ({pending})"
    else:
        # OFFSET 0 keeps the planner to one look-up a pending row: they are few, and it would rather read the whole table.
        before = f"SELECT r.* FROM ({pending}) p CROSS JOIN LATERAL ({rows} AND s.id = p.row_id OFFSET 0) AS r"
    return f"""
    {rows} AND s.{source.key} >= {since} {{until}}
    UNION ALL
    SELECT * FROM ({before}) AS b"""


def _live(source: Source) -> TextClause:
    return text(f"""
WITH picked AS MATERIALIZED ({_rows(source, source.columns, ":watermark", by_settled_at=source.settled_at is not None).format(until="")}
)
{_sums(source)}""")


def _roll(source: Source) -> TextClause:
    columns = f"{source.columns}, ({source.settled}) AS settled"
    # Every pending row is looked at, whatever its times say: rolling up is the moment that must not miss any.
    looked_at = _rows(source, columns, ":since", by_settled_at=False).format(until=f"AND s.{source.key} < :until")
    return text(f"""
WITH picked AS MATERIALIZED ({looked_at}
),
kept AS (
    INSERT INTO figure_pending (source, row_id)
    SELECT '{source.name}', id FROM picked WHERE NOT settled
    ON CONFLICT DO NOTHING
),
-- What is settled now, and what was deleted while it was pending.
dropped AS (
    DELETE FROM figure_pending p WHERE p.source = '{source.name}'
      AND (p.row_id IN (SELECT id FROM picked WHERE settled)
           OR NOT EXISTS (SELECT FROM {source.rows_of} s WHERE s.id = p.row_id))
),
added AS (
    INSERT INTO figure_totals AS f (figure, labels, le, count, sum_us)
    {_sums(source, "settled")} ORDER BY 1, 2, 3
    ON CONFLICT (figure, labels, le) DO UPDATE SET count = f.count + excluded.count, sum_us = f.sum_us + excluded.sum_us
),
moved AS (
    INSERT INTO figure_sources (source, watermark, rolled_at) VALUES ('{source.name}', :until, clock_timestamp())
    ON CONFLICT (source) DO UPDATE SET watermark = excluded.watermark, rolled_at = excluded.rolled_at
)
SELECT count(*) FROM picked""")


_LIVE = {source.name: _live(source) for source in SOURCES}
_ROLL = {source.name: _roll(source) for source in SOURCES}
_DIRECT = {
    source.name: text(
        f"WITH picked AS MATERIALIZED (SELECT {source.columns} FROM {source.rows_of} s {source.joins} WHERE {source.condition})\n"
        + _sums(source)
    )
    for source in SOURCES
}

_HORIZON = text("""
SELECT least(clock_timestamp(), min(xact_start)) - make_interval(secs => :slack_seconds)
FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
""")


def get_horizon(session: Session, *, slack_seconds: float) -> datetime:
    """Return the time before which no key can appear any more: no transaction that is still running began before it.

    A key is never older than the transaction that writes it. Ask first and read the rows with a later snapshot.
    """
    moment: datetime = session.execute(_HORIZON, {"slack_seconds": slack_seconds}).scalar_one()
    return moment


# Any constant does; it must only be ours.
_LOCK_KEY = 7_300_007


def try_lock_rolling(session: Session) -> bool:
    """Take the right to roll up until the transaction ends; False when somebody else has it."""
    return bool(session.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK_KEY}).scalar_one())


def get_watermarks(session: Session) -> dict[str, datetime]:
    """Return how far each table is rolled up; a table that never was is missing."""
    return {row.source: row.watermark for row in session.execute(text("SELECT source, watermark FROM figure_sources"))}


_ROLLED = text("SELECT extract(epoch FROM clock_timestamp() - min(rolled_at))::float8, count(*) FROM figure_sources")


def find_rolled_seconds_ago(session: Session) -> float | None:
    """Return how long ago the last round of rolling up was, or None when there never was a whole one."""
    row = session.execute(_ROLLED).one()
    return row[0] if row[1] == len(SOURCES) else None


def find_batch_end(session: Session, source: Source, *, since: datetime, rows: int, horizon: datetime) -> datetime:
    """Return up to where about `rows` rows from `since` on reach, at most the horizon and always past `since`."""
    nth = f"SELECT s.{source.key} FROM {source.rows_of} s {source.joins} WHERE {source.condition} AND s.{source.key}"
    found = session.scalar(
        text(f"{nth} >= :since ORDER BY s.{source.key} OFFSET :rows LIMIT 1"), {"since": since, "rows": rows}
    )
    if found is not None and found <= since:
        # More rows than a batch share one time: they go together.
        found = session.scalar(text(f"{nth} > :since ORDER BY s.{source.key} LIMIT 1"), {"since": since})
    return horizon if found is None else min(found, horizon)


def roll_up(session: Session, source: Source, *, since: datetime, until: datetime) -> int:
    """Move the rows of [since, until) into the totals, and what settled meanwhile; return how many rows were looked at.

    The caller holds the rolling lock, and `until` is not past the horizon.
    """
    counted: int = session.execute(_ROLL[source.name], {"since": since, "until": until}).scalar_one()
    return counted


def list_totals(session: Session) -> list[Count]:
    """Return everything rolled up so far."""
    rows = session.execute(text("SELECT figure, labels, le, count, sum_us FROM figure_totals"))
    return [_count(row) for row in rows]


def list_live(session: Session, watermarks: Mapping[str, datetime]) -> list[Count]:
    """Return what the totals do not hold yet. Read in the same snapshot as the totals and watermarks."""
    counts: list[Count] = []
    for source in SOURCES:
        watermark = watermarks.get(source.name)
        rows = (
            session.execute(_LIVE[source.name], {"watermark": watermark})
            if watermark
            else session.execute(_DIRECT[source.name])
        )
        counts.extend(_count(row) for row in rows)
    return counts


def list_directly(session: Session) -> list[Count]:
    """Count everything from the rows themselves, however long that takes: what the totals must agree with."""
    return [_count(row) for source in SOURCES for row in session.execute(_DIRECT[source.name])]


def _count(row: Any) -> Count:
    return Count(row.figure, tuple(row.labels), row.le, row.count, row.sum_us)
