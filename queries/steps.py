"""The engine's statements: claiming, finishing and failing a step for a set of journeys at once.

Every statement first locks its journeys in the order of their ids, so two sets that overlap wait for each other instead
of deadlocking, and then looks at the steps again: whatever another delivery did meanwhile is seen, and left alone.
FOR NO KEY UPDATE leaves inserts that refer to a journey (their foreign key check) undisturbed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import bindparam

from core.database import Statements
from models import StepName

# The limit leaves nobody out. It has the planner expect one row instead of ten, and so look everything up by its key: while
# the tables are young and without statistics, reading one whole is the cheaper plan for ten rows, and a kept plan stays
# when they have grown.
LOCK_JOURNEYS = """
locked AS MATERIALIZED (
    SELECT id FROM journeys WHERE id = ANY(:journey_ids) ORDER BY id LIMIT cardinality(:journey_ids) FOR NO KEY UPDATE
)"""

# What finishing a step does to its journey; `done` holds journey_id. The counter decides who was last.
MOVE_JOURNEY = """
    status = CASE WHEN j.open_steps <= 1 THEN 'succeeded' WHEN j.status = 'accepted' THEN 'running' ELSE j.status END,
    finished_at = CASE WHEN j.open_steps <= 1 THEN clock_timestamp() ELSE j.finished_at END,
    open_steps = j.open_steps - 1"""

STEP_DONE = """
    status = 'succeeded', finished_at = clock_timestamp(), due_at = NULL, sweep_at = NULL, lease_token = NULL,
    lease_until = NULL, error_code = NULL, error_text = NULL"""

# A step that works within one transaction may start when it is due and nobody finished it.
STARTABLE = "s.status IN ('pending', 'waiting') AND s.due_at <= now()"


@dataclass(frozen=True, slots=True)
class Claim:
    """One journey's step, ours until the lease runs out, with what its work needs to know."""

    journey_id: UUID
    attempt: int
    failures: int
    payload: dict[str, Any]
    user_id: UUID
    external_id: str | None
    username: str
    locale: str | None
    source: str | None
    interests: list[str]
    email: str | None
    phone: str | None
    handle: str
    conversation_id: UUID | None
    # Seconds until the template is due, by the database's clock when it was claimed; none where it never is.
    greet_in_seconds: float | None
    greeted: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one journey's attempt failed, and after how many seconds it is tried again (None: never)."""

    journey_id: UUID
    code: str
    text: str
    retry_in_seconds: float | None


_CLAIM = text(f"""
WITH {LOCK_JOURNEYS},
claimed AS (
    UPDATE journey_steps s
    SET status = 'running', attempts = s.attempts + 1, published = 0, lease_token = :token,
        lease_until = clock_timestamp() + make_interval(secs => :lease_seconds),
        sweep_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        started_at = coalesce(s.started_at, clock_timestamp())
    FROM locked l
    WHERE s.journey_id = l.id AND s.name = :step AND s.due_at <= now()
      AND (s.status IN ('pending', 'waiting') OR (s.status = 'running' AND s.lease_until <= now()))
    RETURNING s.journey_id, s.attempts, s.failures, s.payload
),
-- Only an attempt before this one can have been lost. The limit leaves nothing out; it has what is rare looked for once and by
-- its key, not once for each call that is open.
again AS MATERIALIZED (
    SELECT journey_id FROM claimed WHERE attempts > 1 LIMIT cardinality(:journey_ids)
),
lost AS (
    UPDATE step_attempts a SET outcome = 'lost', finished_at = now(), error_code = 'LEASE_EXPIRED',
        duration_ms = extract(epoch FROM now() - a.started_at) * 1000,
        error_text = 'the worker died or hung: its lease ran out'
    FROM again c WHERE a.journey_id = c.journey_id AND a.step = :step AND a.outcome = 'running'
),
-- Whatever the dead worker's call came to, nobody heard it.
unheard AS (
    UPDATE agent_calls a SET status = 'failed', finished_at = now(), error_code = 'LEASE_EXPIRED',
        duration_ms = extract(epoch FROM now() - a.started_at) * 1000,
        error_text = 'the worker died or hung before the answer was recorded'
    FROM (
        SELECT o.id FROM again c
        CROSS JOIN LATERAL (
            SELECT k.id FROM agent_calls k WHERE k.journey_id = c.journey_id AND k.status = 'running' OFFSET 0
        ) o
    ) open
    -- Asked again of the row itself: an end that was recorded while this waited stands.
    WHERE a.id = open.id AND a.status = 'running'
),
noted AS (
    INSERT INTO step_attempts (id, journey_id, step, attempt, outcome, worker, started_at)
    SELECT anmei_uuid7(), journey_id, :step, attempts, 'running', :worker, clock_timestamp() FROM claimed
),
moved AS (
    UPDATE journeys j SET status = CASE WHEN j.status = 'accepted' THEN 'running' ELSE j.status END,
        handle_expires_at = now() + make_interval(secs => :handle_seconds)
    FROM claimed c WHERE j.id = c.journey_id
)
SELECT c.journey_id, c.attempts AS attempt, c.failures, coalesce(c.payload, '{{}}'::jsonb) AS payload,
       u.id AS user_id, u.external_id, u.username, u.locale, u.source, u.interests, u.email, u.phone, j.handle, v.id AS conversation_id,
       extract(epoch FROM j.greet_by_at - clock_timestamp())::float8 AS greet_in_seconds, j.greeted_at IS NOT NULL AS greeted
FROM claimed c
JOIN journeys j ON j.id = c.journey_id
JOIN users u ON u.id = j.user_id
LEFT JOIN conversations v ON v.journey_id = c.journey_id
""")


def claim_steps(
    session: Statements,
    step: StepName,
    journey_ids: Sequence[UUID],
    *,
    token: UUID,
    worker: str,
    lease_seconds: float,
    handle_seconds: float,
) -> list[Claim]:
    """Take the due steps among these under one lease; return those taken. Records each attempt before its work begins."""
    rows = session.execute(
        _CLAIM,
        {
            "journey_ids": list(journey_ids),
            "step": step,
            "token": token,
            "worker": worker,
            "lease_seconds": lease_seconds,
            "handle_seconds": handle_seconds,
        },
    )
    # The statement returns the fields in their order.
    return [Claim(*row) for row in rows]


_RENEW = text(f"""
WITH {LOCK_JOURNEYS}
UPDATE journey_steps s SET lease_until = clock_timestamp() + make_interval(secs => :lease_seconds),
    sweep_at = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM unnest(CAST(:journey_ids AS uuid[]), CAST(:tokens AS uuid[])) AS held(journey_id, token)
JOIN locked l ON l.id = held.journey_id
WHERE s.journey_id = held.journey_id AND s.name = :step AND s.lease_token = held.token AND s.status = 'running'
RETURNING s.journey_id
""")


def renew_leases(session: Statements, step: StepName, held: Mapping[UUID, UUID], *, lease_seconds: float) -> set[UUID]:
    """Extend the leases still held (journey → token); return their journeys. What is missing was taken over by others."""
    parameters = {**_held(held), "step": step, "lease_seconds": lease_seconds}
    return set(session.execute(_RENEW, parameters).scalars())


_FAIL = text(f"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(:failures) AS f(journey_id uuid, code text, text text, retry_in_seconds float8)
),
{LOCK_JOURNEYS},
failed AS (
    UPDATE journey_steps s
    SET status = CASE WHEN g.retry_in_seconds IS NULL THEN 'failed' ELSE 'waiting' END,
        attempts = s.attempts + CASE WHEN s.status = 'running' THEN 0 ELSE 1 END,
        failures = s.failures + 1, published = 0, lease_token = NULL, lease_until = NULL,
        started_at = coalesce(s.started_at, now()),
        due_at = now() + make_interval(secs => g.retry_in_seconds),
        sweep_at = now() + make_interval(secs => g.retry_in_seconds),
        finished_at = CASE WHEN g.retry_in_seconds IS NULL THEN now() END,
        error_code = g.code, error_text = g.text
    FROM given g JOIN locked l ON l.id = g.journey_id
    WHERE s.journey_id = g.journey_id AND s.name = :step
      AND CASE WHEN CAST(:token AS uuid) IS NULL THEN {STARTABLE} OR (s.status = 'running' AND s.lease_until <= now())
               ELSE s.status = 'running' AND s.lease_token = :token END
    RETURNING s.journey_id, s.attempts, s.payload, g.code, g.text, g.retry_in_seconds
),
-- An attempt within one transaction left no row yet, one under a lease did.
noted AS (
    INSERT INTO step_attempts (id, journey_id, step, attempt, outcome, worker, started_at, finished_at, duration_ms, error_code, error_text)
    SELECT anmei_uuid7(), journey_id, :step, attempts, 'failed', :worker, now(), clock_timestamp(), 0, code, text FROM failed
    ON CONFLICT (journey_id, step, attempt) DO UPDATE
    SET outcome = 'failed', finished_at = excluded.finished_at, error_code = excluded.error_code,
        error_text = excluded.error_text,
        duration_ms = extract(epoch FROM excluded.finished_at - step_attempts.started_at) * 1000
),
dead AS (
    INSERT INTO dead_letters (id, journey_id, step, error_code, error_text, attempts, payload)
    SELECT anmei_uuid7(), journey_id, :step, code, text, attempts, coalesce(payload, '{{}}'::jsonb)
    FROM failed WHERE retry_in_seconds IS NULL
    ON CONFLICT (journey_id, step) WHERE status = 'open' DO NOTHING
    RETURNING id, journey_id
),
moved AS (
    UPDATE journeys j SET status = CASE WHEN f.retry_in_seconds IS NULL THEN 'failed'
                                        WHEN j.status = 'accepted' THEN 'running' ELSE j.status END
    FROM failed f WHERE j.id = f.journey_id
)
SELECT f.journey_id, f.attempts, d.id AS dead_letter_id FROM failed f LEFT JOIN dead d USING (journey_id)
""").bindparams(bindparam("failures", type_=JSONB))


@dataclass(frozen=True, slots=True)
class Failed:
    """What was recorded of one failure; the dead letter's id where one was opened."""

    journey_id: UUID
    attempts: int
    dead_letter_id: UUID | None


def fail_steps(
    session: Statements, step: StepName, failures: Sequence[Failure], *, token: UUID | None, worker: str
) -> list[Failed]:
    """Record failed attempts: waiting for a retry, or failed with a dead letter. Return what was recorded.

    With a token only steps still held under it are touched; without one, steps that nobody holds.
    """
    rows = session.execute(
        _FAIL,
        {
            "failures": [
                {
                    "journey_id": str(one.journey_id),
                    "code": one.code,
                    "text": one.text,
                    "retry_in_seconds": one.retry_in_seconds,
                }
                for one in failures
            ],
            "journey_ids": [one.journey_id for one in failures],
            "step": step,
            "token": token,
            "worker": worker,
        },
    )
    return [Failed(**row._mapping) for row in rows]


_READY = text(f"""
WITH {LOCK_JOURNEYS}
UPDATE journey_steps s
SET due_at = now(), sweep_at = now() + make_interval(secs => :sweep_seconds)
FROM locked l
WHERE s.journey_id = l.id AND s.name = :step AND s.status = 'pending' AND s.due_at IS NULL
RETURNING s.journey_id
""")


def make_ready(session: Statements, step: StepName, journey_ids: Sequence[UUID], *, sweep_seconds: float) -> set[UUID]:
    """Let a step begin that no longer has to wait for the one before it; return the journeys where it had to."""
    parameters = {"journey_ids": list(journey_ids), "step": step, "sweep_seconds": sweep_seconds}
    return set(session.execute(_READY, parameters).scalars())


# A lease begun or renewed this recently tells of a worker that is at work now.
_FRESH_LEASE_SECONDS = 2.0

# What is due and not begun lost its message or stands in line with it. The first look goes by how long those had stood in line
# that were begun last: until twice that, it gets no second message. By the next look it does (docs/decisions/0001).
_SWEEP = text("""
WITH due AS MATERIALIZED (
    -- A retry and what was handed back are looked at when they are due: no message was sent with them.
    SELECT id, name, status = 'pending' AND published = 0 AND sweep_at > due_at AS is_first FROM journey_steps
    WHERE sweep_at <= now() ORDER BY sweep_at LIMIT :most FOR UPDATE SKIP LOCKED
),
line AS MATERIALIZED (
    SELECT name, make_interval(secs => least(:lease_seconds, 2 * extract(epoch FROM max(started_at - due_at)))) AS patience
    FROM journey_steps
    -- Whose lease was begun or renewed just now: the far end of the index.
    WHERE sweep_at > now() + make_interval(secs => :lease_seconds - :fresh) AND status = 'running'
      AND EXISTS (SELECT FROM due WHERE is_first)
    GROUP BY name
)
UPDATE journey_steps s
SET published = least(s.published + 1, 30),
    sweep_at = CASE WHEN due.is_first AND s.due_at + line.patience > now() THEN s.due_at + line.patience
                    ELSE clock_timestamp() + make_interval(secs => least(:longest, :first * 2 ^ least(s.published, 10))) END
FROM due LEFT JOIN line ON line.name = due.name
WHERE s.id = due.id
RETURNING s.journey_id, s.name, s.status, s.attempts, s.failures,
          coalesce(due.is_first AND s.due_at + line.patience > now(), false) AS stands_in_line
""")


@dataclass(frozen=True, slots=True)
class Due:
    """A step the sweep found: due, orphaned, or never published."""

    journey_id: UUID
    name: StepName
    status: str
    attempts: int
    failures: int


def sweep_steps(session: Statements, *, most: int, first: float, longest: float, lease_seconds: float) -> list[Due]:
    """Take the steps to look at now, oldest first, and set the next look further away each time (seconds).

    Left out, for one look and as long as a lease at most, is what stands in line with its message behind work in progress.
    """
    parameters = {"most": most, "first": first, "longest": longest, "lease_seconds": lease_seconds}
    rows = session.execute(_SWEEP, parameters | {"fresh": _FRESH_LEASE_SECONDS})
    return [
        Due(row.journey_id, StepName(row.name), row.status, row.attempts, row.failures)
        for row in rows
        if not row.stands_in_line
    ]


_RESWEEP = text("""
UPDATE journey_steps SET sweep_at = now() + make_interval(secs => :seconds), published = greatest(published - 1, 1)
WHERE journey_id = ANY(:journey_ids) AND name = :step AND sweep_at IS NOT NULL AND status <> 'running'
""")


def sweep_again(session: Statements, step: StepName, journey_ids: Sequence[UUID], *, seconds: float) -> None:
    """Bring the next look forward: the message that was to be sent could not be."""
    session.execute(_RESWEEP, {"journey_ids": list(journey_ids), "step": step, "seconds": seconds})


_NEXT_GREETING = text("""
SELECT min(greet_by_at) FROM journeys
WHERE greeted_at IS NULL AND greet_by_at IS NOT NULL AND finished_at IS NULL
""")


def find_next_greeting(session: Statements) -> datetime | None:
    """Return when the next template is due, if any journey waits for its greeting."""
    moment: datetime | None = session.scalar(_NEXT_GREETING)
    return moment


_LOST = text("""
SELECT journey_id FROM step_attempts
WHERE journey_id = ANY(:journey_ids) AND step = :step AND outcome = 'lost' AND error_code = 'LEASE_EXPIRED'
GROUP BY journey_id HAVING count(*) >= :lost
""")


def list_often_lost(session: Statements, step: StepName, journey_ids: Sequence[UUID], *, lost: int) -> list[UUID]:
    """Return the journeys whose step took its worker with it so many times."""
    parameters = {"journey_ids": list(journey_ids), "step": step, "lost": lost}
    return list(session.execute(_LOST, parameters).scalars())


_FAILURES = text("SELECT journey_id, failures FROM journey_steps WHERE journey_id = ANY(:journey_ids) AND name = :step")


def list_failures(session: Statements, step: StepName, journey_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return how many attempts of the step have failed so far, by journey."""
    rows = session.execute(_FAILURES, {"journey_ids": list(journey_ids), "step": step})
    return {row.journey_id: row.failures for row in rows}


_HAND_BACK = text(f"""
WITH {LOCK_JOURNEYS},
back AS (
    UPDATE journey_steps s
    SET status = 'pending', lease_token = NULL, lease_until = NULL, due_at = now(), sweep_at = now()
    FROM unnest(CAST(:journey_ids AS uuid[]), CAST(:tokens AS uuid[])) AS held(journey_id, token)
    JOIN locked l ON l.id = held.journey_id
    WHERE s.journey_id = held.journey_id AND s.name = :step AND s.lease_token = held.token AND s.status = 'running'
    RETURNING s.journey_id, s.attempts
)
UPDATE step_attempts a SET outcome = 'lost', finished_at = now(), error_code = 'HANDED_BACK',
    error_text = 'the worker was asked to stop', duration_ms = extract(epoch FROM now() - a.started_at) * 1000
FROM back b WHERE a.journey_id = b.journey_id AND a.step = :step AND a.attempt = b.attempts
""")


def hand_back(session: Statements, step: StepName, held: Mapping[UUID, UUID]) -> None:
    """Give up leases (journey → token) on purpose: the steps are due again at once, for whoever comes next."""
    session.execute(_HAND_BACK, {**_held(held), "step": step})


def _held(held: Mapping[UUID, UUID]) -> dict[str, list[UUID]]:
    return {"journey_ids": list(held), "tokens": list(held.values())}
