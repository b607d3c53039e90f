"""The job of every peer: the same rows in the same tables, one short transaction a step, and the same call of the agent.

No leases, no attempts, no sweep, no events: less than the product does. Each thread keeps one connection, whose statements
psycopg prepares by itself.
"""

import json
import threading
from functools import lru_cache
from typing import Any
from uuid import UUID

import httpx
import psycopg

from bench.seed import AGENT_KEY
from core.ids import new_id
from core.settings import get_settings

ACCEPT = """
WITH u AS (
    INSERT INTO users (id, external_id, username, email, phone, roles, primary_role, locale, source, interests, registered_at)
    VALUES (%(user)s, %(external_id)s, %(username)s, %(email)s, %(phone)s, %(roles)s, %(primary_role)s, %(locale)s, %(source)s,
            %(interests)s, %(registered_at)s)
    ON CONFLICT (external_id) DO NOTHING RETURNING id
)
INSERT INTO journeys (id, user_id, status, open_steps, settings_version) SELECT %(journey)s, id, 'accepted', 0, 0 FROM u
"""
_CONVERSATION = """
INSERT INTO conversations (id, customer_id, journey_id, title, tags, owner)
SELECT %(id)s, user_id, id, '新客户咨询', '["新客户"]', 'general_ai' FROM journeys WHERE id = %(journey)s
ON CONFLICT (journey_id) DO NOTHING
"""
_CUSTOMER = "SELECT u.username, u.locale FROM journeys j JOIN users u ON u.id = j.user_id WHERE j.id = %(journey)s"
_MESSAGE = """
INSERT INTO messages (id, conversation_id, sender_type, content, journey_id, source)
SELECT %(id)s, id, 'ai', jsonb_build_object('type', 'text', 'text', %(text)s::text), journey_id, 'agent'
FROM conversations WHERE journey_id = %(journey)s
ON CONFLICT (journey_id, source) WHERE journey_id IS NOT NULL DO NOTHING
"""
_NOTIFICATIONS = """
INSERT INTO notifications (id, journey_id, consultant_id, channel, status, payload, sent_at)
SELECT gen_random_uuid(), %(journey)s, c.id, 'websocket', 'sent',
       jsonb_build_object('title', '新客户', 'body', '有新客户注册', 'customer_id', j.user_id), now()
FROM journeys j CROSS JOIN consultants c WHERE j.id = %(journey)s AND c.enabled
ON CONFLICT (journey_id, consultant_id, channel) DO NOTHING
"""

_local = threading.local()


def connection() -> psycopg.Connection[Any]:
    """Return this thread's connection, every statement its own transaction."""
    known: psycopg.Connection[Any] | None = getattr(_local, "connection", None)
    if known is None:
        known = psycopg.connect(get_settings().require_database_url(), autocommit=True)
        _local.connection = known
    return known


def accept_parameters(event: dict[str, Any]) -> dict[str, Any]:
    """Return the values of ACCEPT for one registration event, with fresh ids."""
    data = event["data"]
    return {
        **{name: data.get(name) for name in ("username", "email", "phone", "primary_role", "locale", "source")},
        "user": new_id(),
        "journey": new_id(),
        "external_id": data["user_id"],
        "roles": json.dumps(data.get("roles") or []),
        "interests": json.dumps(data.get("interests") or []),
        "registered_at": data.get("registered_at"),
    }


def create_conversation(journey_id: str) -> None:
    connection().execute(_CONVERSATION, {"id": new_id(), "journey": UUID(journey_id)})


def generate_welcome(journey_id: str) -> None:
    """Ask the agent, then store what it said; no transaction is open in between."""
    row = connection().execute(_CUSTOMER, {"journey": UUID(journey_id)}).fetchone()
    assert row is not None
    text = _ask_agent(journey_id, row[0], row[1])
    connection().execute(_MESSAGE, {"id": new_id(), "journey": UUID(journey_id), "text": text})


def notify_consultants(journey_id: str) -> None:
    connection().execute(_NOTIFICATIONS, {"journey": UUID(journey_id)})


def _ask_agent(journey_id: str, username: str, locale: str | None) -> str:
    body = {
        "inputs": {"user_id": journey_id, "username": username, "locale": locale or "zh-CN"},
        "query": "请为这位刚注册的客户写一段欢迎语。",
        "response_mode": "streaming",
        "user": journey_id,
        "auto_generate_name": False,
    }
    # An agent application answers as a stream only.
    answer = _http().post(_agent_url(), json=body)
    answer.raise_for_status()
    frames = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    return "".join(frame.get("answer", "") for frame in frames if frame.get("event") in ("agent_message", "message"))


def _http() -> httpx.Client:
    known: httpx.Client | None = getattr(_local, "http", None)
    if known is None:
        known = httpx.Client(timeout=20, trust_env=False, headers={"Authorization": f"Bearer {AGENT_KEY}"})
        _local.http = known
    return known


@lru_cache(maxsize=1)
def _agent_url() -> str:
    row = connection().execute("SELECT base_url FROM agents").fetchone()
    assert row is not None
    return f"{row[0]}/chat-messages"
