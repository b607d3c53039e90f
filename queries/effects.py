"""The steps' effects, each written together with the step that causes it: conversations, welcomes, notifications."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import bindparam

from core.database import Statements
from queries.steps import LOCK_JOURNEYS, MOVE_JOURNEY, STARTABLE, STEP_DONE
from queries.targets import ABLE, BEST, EVERYBODY

# The attempt of a step that begins and ends within one transaction.
_NOTE_WHOLE_ATTEMPT = """
noted AS (
    INSERT INTO step_attempts (id, journey_id, step, attempt, outcome, worker, started_at, finished_at, duration_ms)
    SELECT anmei_uuid7(), journey_id, :step, attempts, 'succeeded', :worker, now(), clock_timestamp(),
           extract(epoch FROM clock_timestamp() - now()) * 1000
    FROM done
)"""

_OPEN = text(f"""
WITH {LOCK_JOURNEYS},
done AS (
    UPDATE journey_steps s
    SET attempts = s.attempts + 1, started_at = coalesce(s.started_at, now()), {STEP_DONE}
    FROM locked l
    WHERE s.journey_id = l.id AND s.name = :step AND {STARTABLE}
    RETURNING s.journey_id, s.attempts, s.payload
),
made AS (
    INSERT INTO conversations (id, customer_id, journey_id, title, tags, owner)
    SELECT anmei_uuid7(), j.user_id, j.id, coalesce(d.payload ->> 'title', :title), coalesce(d.payload -> 'tags', :tags),
           coalesce(d.payload ->> 'owner', :owner)
    FROM done d JOIN journeys j ON j.id = d.journey_id
    ON CONFLICT (journey_id) DO NOTHING
    RETURNING id, journey_id
),
next AS (
    UPDATE journey_steps n SET due_at = now(), sweep_at = now() + make_interval(secs => :sweep_seconds)
    FROM done d WHERE n.journey_id = d.journey_id AND n.name = :next_step AND n.status = 'pending' AND n.due_at IS NULL
),
{_NOTE_WHOLE_ATTEMPT},
moved AS (
    UPDATE journeys j SET conversation_at = coalesce(j.conversation_at, clock_timestamp()), {MOVE_JOURNEY}
    FROM done d WHERE j.id = d.journey_id
)
SELECT d.journey_id, m.id AS conversation_id FROM done d LEFT JOIN made m USING (journey_id)
""").bindparams(bindparam("tags", type_=JSONB))


def open_conversations(
    session: Statements,
    journey_ids: Sequence[UUID],
    *,
    step: str,
    next_step: str,
    title: str,
    tags: Sequence[str],
    owner: str,
    worker: str,
    sweep_seconds: float,
) -> dict[UUID, UUID | None]:
    """Open the conversations whose step is due, finish the step and make the next one due.

    Return the journeys done now with the conversation made (None where one was there already). Idempotent.
    """
    rows = session.execute(
        _OPEN,
        {
            "journey_ids": list(journey_ids),
            "step": step,
            "next_step": next_step,
            "title": title,
            "tags": list(tags),
            "owner": owner,
            "worker": worker,
            "sweep_seconds": sweep_seconds,
        },
    )
    return {row.journey_id: row.conversation_id for row in rows}


@dataclass(frozen=True, slots=True)
class Welcome:
    """What ends one journey's welcome step: a text to store (None: nothing more to say) and what is noted of it.

    `token` is the lease under which it was written.
    """

    journey_id: UUID
    token: UUID
    text: str | None
    source: str
    result: dict[str, Any]


_STORE_WELCOMES = text(f"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(:welcomes) AS g(journey_id uuid, token uuid, text text, source text, result jsonb)
),
{LOCK_JOURNEYS},
done AS (
    UPDATE journey_steps s SET result = g.result, {STEP_DONE}
    FROM given g JOIN locked l ON l.id = g.journey_id
    WHERE s.journey_id = g.journey_id AND s.name = :step AND s.status = 'running' AND s.lease_token = g.token
    RETURNING s.journey_id, s.attempts, g.text, g.source
),
said AS (
    INSERT INTO messages (id, conversation_id, sender_type, content, journey_id, source)
    SELECT anmei_uuid7(), v.id, 'ai', jsonb_build_object('type', 'text', 'text', d.text), d.journey_id, d.source
    FROM done d JOIN conversations v ON v.journey_id = d.journey_id
    WHERE d.text IS NOT NULL
    ON CONFLICT (journey_id, source) WHERE journey_id IS NOT NULL DO NOTHING
    RETURNING id, journey_id, source
),
next AS (
    UPDATE journey_steps n SET due_at = now(), sweep_at = now() + make_interval(secs => :sweep_seconds)
    FROM done d WHERE n.journey_id = d.journey_id AND n.name = :next_step AND n.status = 'pending' AND n.due_at IS NULL
),
noted AS (
    UPDATE step_attempts a SET outcome = 'succeeded', finished_at = clock_timestamp(),
        duration_ms = extract(epoch FROM clock_timestamp() - a.started_at) * 1000
    FROM done d WHERE a.journey_id = d.journey_id AND a.step = :step AND a.attempt = d.attempts
),
moved AS (
    UPDATE journeys j
    SET greeted_at = coalesce(j.greeted_at, CASE WHEN m.id IS NOT NULL THEN clock_timestamp() END),
        greeted_by = coalesce(j.greeted_by, m.source), handle_expires_at = now(), {MOVE_JOURNEY}
    FROM done d LEFT JOIN said m USING (journey_id) WHERE j.id = d.journey_id
)
SELECT d.journey_id, m.id AS message_id FROM done d LEFT JOIN said m USING (journey_id)
""").bindparams(bindparam("welcomes", type_=JSONB))


def store_welcomes(
    session: Statements,
    welcomes: Sequence[Welcome],
    *,
    step: str,
    next_step: str,
    sweep_seconds: float,
) -> dict[UUID, UUID | None]:
    """Store the texts and finish their steps, where the lease is still ours; make the next step due.

    Return the journeys finished now with the message stored (None where there was none to store). A journey that is
    missing was taken over by somebody else, and nothing of it was written.
    """
    rows = session.execute(
        _STORE_WELCOMES,
        {
            "welcomes": [
                {
                    "journey_id": str(one.journey_id),
                    "token": str(one.token),
                    "text": one.text,
                    "source": one.source,
                    "result": one.result,
                }
                for one in welcomes
            ],
            "journey_ids": [one.journey_id for one in welcomes],
            "step": step,
            "next_step": next_step,
            "sweep_seconds": sweep_seconds,
        },
    )
    return {row.journey_id: row.message_id for row in rows}


def _greet(lock: str) -> TextClause:
    return text(f"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(:greetings) AS g(journey_id uuid, text text)
),
-- The lock looks at the row again: an agent's welcome stored while we waited keeps the template away.
locked AS MATERIALIZED (
    SELECT id FROM journeys WHERE id = ANY(:journey_ids) AND greeted_at IS NULL AND finished_at IS NULL
    ORDER BY id LIMIT cardinality(:journey_ids) {lock}
),
said AS (
    INSERT INTO messages (id, conversation_id, sender_type, content, journey_id, source)
    SELECT anmei_uuid7(), v.id, 'ai', jsonb_build_object('type', 'text', 'text', g.text), g.journey_id, 'template'
    FROM given g
    JOIN locked l ON l.id = g.journey_id
    JOIN conversations v ON v.journey_id = g.journey_id
    ON CONFLICT (journey_id, source) WHERE journey_id IS NOT NULL DO NOTHING
    RETURNING id, journey_id
),
next AS (
    UPDATE journey_steps n SET due_at = now(), sweep_at = now() + make_interval(secs => :sweep_seconds)
    FROM said m WHERE n.journey_id = m.journey_id AND n.name = :next_step AND n.status = 'pending' AND n.due_at IS NULL
    RETURNING n.journey_id
),
moved AS (
    UPDATE journeys j SET greeted_at = coalesce(j.greeted_at, clock_timestamp()), greeted_by = coalesce(j.greeted_by, 'template')
    FROM said m WHERE j.id = m.journey_id
)
SELECT m.journey_id, m.id AS message_id, n.journey_id IS NOT NULL AS made_ready
FROM said m LEFT JOIN next n USING (journey_id)
""").bindparams(bindparam("greetings", type_=JSONB))


_GREET = _greet("FOR NO KEY UPDATE")
_GREET_UNLOCKED = _greet("FOR NO KEY UPDATE SKIP LOCKED")


@dataclass(frozen=True, slots=True)
class Greeted:
    journey_id: UUID
    message_id: UUID
    # Whether this made the notification due, so that somebody has to send its message.
    made_ready: bool


def post_templates(
    session: Statements, texts: dict[UUID, str], *, next_step: str, sweep_seconds: float, skip_locked: bool = False
) -> list[Greeted]:
    """Store the template for the journeys among these that have no greeting yet; return those greeted now.

    The welcome step stays as it is: an agent that is still writing may follow. Idempotent. With `skip_locked` journeys that
    somebody else is at work on are left out instead of waited for.
    """
    rows = session.execute(
        _GREET_UNLOCKED if skip_locked else _GREET,
        {
            "greetings": [{"journey_id": str(journey_id), "text": text} for journey_id, text in texts.items()],
            "journey_ids": list(texts),
            "next_step": next_step,
            "sweep_seconds": sweep_seconds,
        },
    )
    return [Greeted(**row._mapping) for row in rows]


_UNGREETED = text(f"""
SELECT j.id AS journey_id, u.username, u.locale, v.id IS NOT NULL AS has_conversation
FROM journeys j
JOIN users u ON u.id = j.user_id
LEFT JOIN conversations v ON v.journey_id = j.id
WHERE j.greeted_at IS NULL AND j.greet_by_at <= clock_timestamp() AND j.finished_at IS NULL
  AND j.status IN ('accepted', 'running', 'failed')
  -- Where the conversation itself failed there is nothing to greet in, and such journeys must not hide the others.
  AND (v.id IS NOT NULL OR EXISTS (
      SELECT FROM journey_steps s
      WHERE s.journey_id = j.id AND s.name = 'create_conversation' AND {STARTABLE}))
ORDER BY j.greet_by_at
LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class Ungreeted:
    """A customer whose greeting is due now."""

    journey_id: UUID
    username: str
    locale: str | None
    has_conversation: bool


def list_ungreeted(session: Statements, *, most: int) -> list[Ungreeted]:
    """Return the journeys whose template is due, longest waiting first."""
    return [Ungreeted(**row._mapping) for row in session.execute(_UNGREETED, {"most": most})]


def _notify(target: str) -> TextClause:
    statement = f"""
WITH {LOCK_JOURNEYS},
done AS (
    UPDATE journey_steps s
    SET attempts = s.attempts + 1, started_at = coalesce(s.started_at, now()), {STEP_DONE}
    FROM locked l
    WHERE s.journey_id = l.id AND s.name = :step AND {STARTABLE}
    RETURNING s.journey_id, s.attempts, s.payload
),
{ABLE},
{target},
told AS (
    INSERT INTO notifications (id, journey_id, consultant_id, channel, status, payload, sent_at, receipt_due_at, due_at, sweep_at)
    SELECT anmei_uuid7(), t.journey_id, t.consultant_id, t.channel,
           CASE t.channel WHEN 'websocket' THEN 'sent' ELSE 'pending' END,
           jsonb_build_object(
               'title', coalesce(t.payload ->> 'title', CASE t.channel WHEN 'websocket' THEN :title ELSE :push_title END),
               'body', coalesce(t.payload ->> 'message', CASE t.channel WHEN 'websocket' THEN :message ELSE :push_body END),
               'customer_id', j.user_id, 'conversation_id', v.id),
           CASE t.channel WHEN 'websocket' THEN now() END,
           CASE WHEN t.channel = 'websocket' AND t.later THEN now() + make_interval(secs => :receipt_seconds) END,
           CASE t.channel WHEN 'push' THEN now() END,
           CASE t.channel WHEN 'push' THEN now() + make_interval(secs => :sweep_seconds) END
    FROM target t
    JOIN journeys j ON j.id = t.journey_id
    LEFT JOIN conversations v ON v.journey_id = j.id
    ON CONFLICT (journey_id, consultant_id, channel) DO NOTHING
    RETURNING id, journey_id, consultant_id, channel
),
laddered AS (
    INSERT INTO escalations (id, journey_id, conversation_id, rung, action, waiting_since, due_at, sweep_at)
    SELECT anmei_uuid7(), d.journey_id, v.id, 0, :first_action, now(), a.at, a.at
    FROM done d
    -- By the journey, whatever the planner knows: the index of all unclaimed conversations would be read whole.
    CROSS JOIN LATERAL (SELECT c.id, c.claimed_by_id FROM conversations c WHERE c.journey_id = d.journey_id LIMIT 1) v
    CROSS JOIN (SELECT now() + make_interval(secs => :escalate_in_seconds) AS at) a
    WHERE a.at IS NOT NULL AND v.claimed_by_id IS NULL
    ON CONFLICT (conversation_id, round, rung) DO NOTHING
),
{_NOTE_WHOLE_ATTEMPT},
moved AS (
    UPDATE journeys j SET notified_at = coalesce(j.notified_at, clock_timestamp()), {MOVE_JOURNEY}
    FROM done d WHERE j.id = d.journey_id
)
SELECT d.journey_id, coalesce(t.count, 0), coalesce(t.by_socket, false), coalesce(t.pushes, '{{}}')
FROM done d LEFT JOIN (
    SELECT journey_id, count(*) AS count, bool_or(channel = 'websocket') AS by_socket,
           array_agg(id) FILTER (WHERE channel = 'push') AS pushes
    FROM told GROUP BY journey_id
) t USING (journey_id)
"""
    # The driver keeps what it has made of a statement only up to 4,096 characters; a longer one it takes apart each time.
    return text("\n".join(line.strip() for line in statement.splitlines() if not line.strip().startswith("--")))


_NOTIFY_ALL = _notify(EVERYBODY)
_NOTIFY_BEST = _notify(BEST)


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told, by which channels in which order, and when the ladder's first rung is due (None: there is no ladder)."""

    channels: Sequence[str] = ("websocket", "push")
    receipt_seconds: float = 15.0
    on_shift: Sequence[UUID] = ()
    # With a number, only so many of the best of those online; None tells all of them.
    told_at_most: int | None = None
    escalate_in_seconds: float | None = None
    first_action: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """How many were told of one journey, whether any by a socket, and the notifications that are to be pushed."""

    journey_id: UUID
    count: int
    by_socket: bool
    pushes: Sequence[UUID]


def notify_consultants(
    session: Statements,
    journey_ids: Sequence[UUID],
    *,
    step: str,
    enabled: bool,
    title: str,
    message: str,
    push_title: str,
    push_body: str,
    worker: str,
    sweep_seconds: float,
    telling: Telling | None = None,
) -> list[Told]:
    """Write one notification per consultant for the journeys whose step is due, begin their ladder, and finish the step.

    Return what was written for each journey done now, for one that nobody could be told of, too.
    Consultants online are told by the first channel that reaches them; when nobody is online, everybody on shift whom a
    push reaches, else everybody whom one reaches. Idempotent.
    """
    how = telling or Telling()
    parameters = {
        "journey_ids": list(journey_ids),
        "step": step,
        "enabled": enabled,
        "title": title,
        "message": message,
        "push_title": push_title,
        "push_body": push_body,
        "worker": worker,
        "sweep_seconds": sweep_seconds,
        "channels": list(how.channels),
        "receipt_seconds": how.receipt_seconds,
        "on_shift": list(how.on_shift),
        "escalate_in_seconds": how.escalate_in_seconds,
        "first_action": how.first_action,
    }
    if how.told_at_most is None:
        rows = session.execute(_NOTIFY_ALL, parameters)
    else:
        rows = session.execute(_NOTIFY_BEST, parameters | {"told_at_most": how.told_at_most})
    # The statement returns the fields in their order.
    return [Told(*row) for row in rows]
