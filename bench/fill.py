"""A database as it is after years: so many finished journeys with everything they leave behind. For bench.plans."""

from collections.abc import Callable
from typing import Any

import psycopg

from bench.sizes import CONSULTANTS

CHUNK = 100_000
# Everything of one journey lies this far from the next, so that a million of them span a bit more than a year.
SECONDS_BETWEEN = 35
# Each consultant gets a notification in the product; two are enough for an honest size of the table's indexes.
NOTIFIED = min(2, CONSULTANTS)

_STAGE = """
CREATE UNLOGGED TABLE filled AS
SELECT n, uuidv7(-age) AS user_id, uuidv7(-age) AS journey_id, uuidv7(-age) AS conversation_id, uuidv7(-age) AS message_id,
       now() - age AS at
FROM (SELECT n, make_interval(secs => (%(total)s::int - n) * {seconds} + 3600) AS age
      FROM generate_series(%(first)s::int, %(last)s::int) n) s
"""

_TABLES = (
    """
INSERT INTO users (id, external_id, username, email, phone, roles, primary_role, locale, source, interests, registered_at, created_at, updated_at)
SELECT user_id, 'old-' || n, '客户' || n, 'old-' || n || '@example.com', '+86138' || lpad(n::text, 8, '0'), '["customer"]',
       'customer', 'zh-CN', 'wechat', '["skin"]', at, at, at
FROM filled ORDER BY n""",
    """
INSERT INTO journeys (id, user_id, status, open_steps, settings_version, handle, handle_expires_at, accepted_at, greet_by_at,
                      conversation_at, greeted_at, greeted_by, notified_at, finished_at)
SELECT journey_id, user_id, 'succeeded', 0, 1, 'jrn_old_' || n, at + interval '10 min', at, at + interval '2.75 s',
       at + interval '10 ms', at + interval '900 ms', 'agent', at + interval '950 ms', at + interval '950 ms'
FROM filled ORDER BY n""",
    """
INSERT INTO journey_steps (id, journey_id, name, position, status, attempts, started_at, finished_at, result)
SELECT uuidv7(at - now()), journey_id, s.name, s.position, 'succeeded', 1, at, at + interval '900 ms',
       CASE s.position WHEN 2 THEN '{"written_by": "agent", "latency_ms": 850}'::jsonb END
FROM filled CROSS JOIN (VALUES ('create_conversation', 1), ('generate_welcome', 2), ('notify_consultants', 3)) s(name, position)
ORDER BY n, s.position""",
    """
INSERT INTO step_attempts (id, journey_id, step, attempt, outcome, worker, started_at, finished_at, duration_ms)
SELECT uuidv7(at - now()), journey_id, s.name, 1, 'succeeded', 'worker@host', at, at + interval '900 ms', 900
FROM filled CROSS JOIN (VALUES ('create_conversation'), ('generate_welcome'), ('notify_consultants')) s(name)
ORDER BY n""",
    "INSERT INTO webhook_receipts (webhook_id, journey_id, received_at) SELECT 'msg-old-' || n, journey_id, at FROM filled ORDER BY n",
    """
INSERT INTO conversations (id, customer_id, journey_id, title, tags, owner, created_at, updated_at)
SELECT conversation_id, user_id, journey_id, '新客户咨询', '["新客户"]', 'general_ai', at, at FROM filled ORDER BY n""",
    """
INSERT INTO messages (id, conversation_id, sender_type, content, journey_id, source, created_at)
SELECT message_id, conversation_id, 'ai', jsonb_build_object('type', 'text', 'text', repeat('您好，欢迎来到安美！', 8)), journey_id,
       'agent', at + interval '900 ms'
FROM filled ORDER BY n""",
    """
INSERT INTO agent_calls (id, journey_id, attempt, agent_id, status, task_id, usage, started_at, finished_at, duration_ms)
SELECT uuidv7(at - now()), journey_id, 1, (SELECT id FROM agents LIMIT 1), 'succeeded', 'task-' || n, '{"total_tokens": 100}', at,
       at + interval '850 ms', 850
FROM filled ORDER BY n""",
    """
INSERT INTO notifications (id, journey_id, consultant_id, channel, status, payload, sent_at, created_at)
SELECT uuidv7(at - now()), journey_id, c.id, 'websocket', 'seen', '{"title": "新客户", "body": "有新客户注册"}', at, at
FROM filled CROSS JOIN (SELECT id FROM consultants ORDER BY id LIMIT %(notified)s) c
ORDER BY n""",
    """
INSERT INTO events (seq, audience, type, data, dedup_key, journey_id, created_at)
SELECT nextval('event_seq'), e.audience, e.type, '{"title": "新客户", "message": "有新客户注册"}', e.type || ':' || journey_id, journey_id, at
FROM filled CROSS JOIN (VALUES ('consultants', 'new_customer'), ('customer', 'message')) e(audience, type)
WHERE at > now() - interval '7 days'
ORDER BY n""",
)


def fill(connection: psycopg.Connection[Any], journeys: int, *, say: Callable[[str], None]) -> None:
    """Write so many finished journeys, oldest first, and have the planner's statistics taken. Events: the days they are kept."""
    # Rows made from each other need no foreign key check: that alone would take longer than writing them.
    connection.execute("SET session_replication_role = replica")
    for first in range(1, journeys + 1, CHUNK):
        last = min(first + CHUNK - 1, journeys)
        bounds = {"total": journeys, "first": first, "last": last}
        connection.execute(psycopg.ClientCursor(connection).mogrify(_STAGE.format(seconds=SECONDS_BETWEEN), bounds))
        for statement in _TABLES:
            connection.execute(psycopg.ClientCursor(connection).mogrify(statement, {"notified": NOTIFIED}))
        connection.execute("DROP TABLE filled")
        say(f"  {last} journeys")
    connection.execute("SET session_replication_role = DEFAULT")
    connection.execute("VACUUM ANALYZE")


def table_sizes(connection: psycopg.Connection[Any]) -> list[tuple[str, int, int]]:
    """Return the big tables, biggest first: name, rows, megabytes with indexes."""
    rows = connection.execute(
        "SELECT relname, reltuples::bigint, pg_total_relation_size(oid) / 1024 / 1024 FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples > 10000 ORDER BY 3 DESC"
    )
    return [(str(name), int(count), int(megabytes)) for name, count, megabytes in rows]
