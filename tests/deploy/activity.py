"""Something of everything that is counted, again and again, so that every panel has something to show."""

import random
import threading

import psycopg

from core.clock import utc_now
from core.ids import new_id
from services import figures, heartbeats, retention
from services.journey_plan import Queue
from services.mcp_calls import BUCKETS_SECONDS
from services.retention import RetentionSettings
from tests.figures import writers
from tests.support.factories import create_agent, create_consultant


def prepare(connection: psycopg.Connection) -> None:
    """Write what is there once: agents with a circuit, consultants, one of them connected."""
    agent = create_agent(name="welcome")
    connection.execute(
        "INSERT INTO agent_circuits (id, agent_id, state) VALUES (%s, %s, 'closed')", (agent.id, agent.id)
    )
    retention.prune(RetentionSettings())
    consultant = create_consultant()
    connection.execute(
        "INSERT INTO consultant_connections (id, consultant_id, expires_at) VALUES (%s, %s, now() + interval '1 h')",
        (new_id(), consultant.id),
    )


def one_round(connection: psycopg.Connection, chance: random.Random) -> None:
    """One journey with all its steps, calls, notifications, claims and ratings, and now and then a failed one."""
    writers.live_a_journey(connection, chance, threading.Event())
    journeys = connection.execute(
        "SELECT id FROM journeys WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1"
    ).fetchall()
    agent_id = connection.execute("SELECT id FROM agents").fetchone()
    consultant_id = connection.execute("SELECT id FROM consultants").fetchone()
    assert agent_id
    assert consultant_id
    for (journey_id,) in journeys:
        connection.execute(
            "INSERT INTO agent_calls (id, journey_id, attempt, agent_id, status, started_at, finished_at)"
            " VALUES (%s, %s, 1, %s, %s, now(), now() + interval '900 ms')",
            (new_id(), journey_id, agent_id[0], chance.choice(["succeeded", "succeeded", "failed"])),
        )
        connection.execute(
            "INSERT INTO notifications (id, journey_id, consultant_id, channel, status, payload)"
            " VALUES (%s, %s, %s, %s, 'sent', '{}') ON CONFLICT DO NOTHING",
            (new_id(), journey_id, consultant_id[0], chance.choice(["websocket", "push"])),
        )
        connection.execute(
            "INSERT INTO claims (id, conversation_id, consultant_id, waited_ms) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (new_id(), journey_id, consultant_id[0], chance.randrange(500, 900_000)),
        )
        connection.execute(
            "INSERT INTO feedback (id, message_id, user_id, rating)"
            " SELECT %s, m.id, j.user_id, %s FROM messages m JOIN journeys j ON j.id = m.journey_id WHERE j.id = %s LIMIT 1"
            " ON CONFLICT DO NOTHING",
            (new_id(), chance.randrange(3, 6), journey_id),
        )
    _process_figures(connection, chance)


def _process_figures(connection: psycopg.Connection, chance: random.Random) -> None:
    figures.count_webhook(chance.choice(["accepted", "accepted", "duplicate", "unauthorized"]))
    heartbeats.beat("test@here", role="worker", queues=list(Queue), last_task_at=utc_now())
    for outcome in ("ok", "error"):
        buckets = [1] * (len(BUCKETS_SECONDS) + 1)
        connection.execute(
            "INSERT INTO mcp_call_totals (tool_name, group_name, outcome, calls, duration_seconds, buckets)"
            " VALUES ('get_user_profile', 'customer_tools', %s, %s, 1, %s)"
            " ON CONFLICT (tool_name, group_name, outcome) DO UPDATE SET calls = mcp_call_totals.calls + excluded.calls,"
            " buckets = (SELECT array_agg(a + b ORDER BY n) FROM unnest(mcp_call_totals.buckets, excluded.buckets)"
            " WITH ORDINALITY AS u(a, b, n))",
            (outcome, len(buckets), buckets),
        )
