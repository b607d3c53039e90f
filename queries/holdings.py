"""Where the record holds data of one person: table by table, how their rows are found, and what stands there once erased.

The one list that export, erasure and retention go by. A column is named in `erased` where it may say something about the
person; tests/personal refuses a new text column that is neither named here nor known to say nothing of anybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ERASED = "'erased'"
# What was said in words is gone; that something was said stays to be seen.
_GONE_IF_ANY = "CASE WHEN {0} IS NOT NULL THEN 'erased' END"
_NO_OUTBOX = {"sweep_at": "NULL", "due_at": "NULL", "lease_token": "NULL", "lease_until": "NULL"}
_NOT_SENT = _NO_OUTBOX | {
    "status": "CASE WHEN status = 'pending' THEN 'failed' ELSE status END",
    "error_code": "CASE WHEN status = 'pending' THEN 'ERASED' ELSE error_code END",
}
_OF_JOURNEYS = "journey_id = ANY(:journey_ids)"
_OF_MESSAGES = "message_id IN (SELECT id FROM messages WHERE conversation_id = ANY(:conversation_ids))"
# What does not hold a name at all is told many times quicker than how a name stands in it.
_NAMED = "({0} LIKE ANY(:needles) AND {0} ~ ANY(:names))"
# Also in the beginning of a large request, which is kept as a text inside of JSON.
_CALLED_BY_HASH = r"""EXISTS (
    SELECT FROM regexp_matches(concat_ws(' ', request::text, response), '"user_id\\?": ?\\?"([^"\\]+)', 'g') AS found (value)
    JOIN erased_users e ON e.external_hash = sha256(convert_to(found.value[1], 'UTF8')) WHERE e.user_id = :user_id)"""


class Kind(StrEnum):
    """What a retention setting prunes by itself, without anybody being erased."""

    AGENT_TEXTS = "agent_texts"
    NOTIFICATIONS = "notifications"
    STEP_INPUTS = "step_inputs"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Holding:
    """Rows of one table that are about a person. Conditions and values are SQL over the parameters named below.

    `where` may use :user_id, :journey_ids, :conversation_ids, :texts (ids as text), :names (regular expressions for what
    names the person), :needles (LIKE patterns for the same) and :logins (those of keys). Without `erased` the rows are
    deleted. `ends` is changed by an erasure only, `erased` also by retention, which finds its rows by `pruned_where` over
    :journey_ids, or over :first_id, :next_id and :until.
    """

    table: str
    where: str
    erased: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, str] = field(default_factory=dict)
    kind: Kind | None = None
    pruned_where: str = _OF_JOURNEYS
    # Of a log that is read as a whole: when a row was written, so that what came late is found among the newest.
    written_at: str | None = None
    # What else finds rows of somebody who was erased, when nothing but a hash tells their `user_id`.
    late_where: str = "false"
    # Not the person's to have: hashes, leases, what names somebody else.
    hidden: tuple[str, ...] = ("lease_token", "lease_until", "sweep_at", "published")
    exported: bool = True


# In the order locks are taken everywhere: logs that nobody waits for, then journeys, conversations, and what hangs on them.
HOLDINGS = (
    Holding(
        "mcp_call_logs",
        " OR ".join([_OF_JOURNEYS, *(_NAMED.format(one) for one in ("request::text", "response", "error"))]),
        {"request": "NULL", "response": "NULL", "error": _GONE_IF_ANY.format("error")},
        # Of the calls that only mention them, the rest is about others.
        exported=False,
        written_at="created_at",
        late_where=_CALLED_BY_HASH,
    ),
    Holding(
        "events",
        f"{_OF_JOURNEYS} OR audience = 'customer:' || CAST(:user_id AS uuid) OR data ->> 'conversation_id' = ANY(:texts)"
        " OR data ->> 'customer_id' = ANY(:texts)",
        exported=False,
        written_at="created_at",
    ),
    Holding("login_failures", "key LIKE ANY(:logins)", exported=False),
    Holding(
        "journeys",
        "user_id = :user_id",
        {"handle": "NULL", "handle_expires_at": "NULL"},
        {
            "status": "CASE WHEN status IN ('accepted', 'running', 'failed') THEN 'cancelled' ELSE status END",
            # A skipped journey keeps its reason, which is one of ours; others may be an operator's words.
            "reason": "CASE WHEN status = 'skipped' OR (reason IS NULL AND status = 'succeeded') THEN reason ELSE 'erased' END",
            "open_steps": "0",
            "finished_at": "coalesce(finished_at, now())",
        },
        hidden=("handle", "handle_expires_at"),
    ),
    Holding(
        "journey_steps",
        _OF_JOURNEYS,
        {"payload": "NULL", "result": "NULL", "error_text": _GONE_IF_ANY.format("error_text")},
        # None is left that could be done again.
        _NO_OUTBOX | {"status": "CASE WHEN status IN ('succeeded', 'skipped') THEN status ELSE 'skipped' END"},
        Kind.STEP_INPUTS,
    ),
    Holding("step_attempts", _OF_JOURNEYS, {"error_text": _GONE_IF_ANY.format("error_text")}, kind=Kind.STEP_INPUTS),
    Holding(
        "dead_letters",
        _OF_JOURNEYS,
        {"error_text": ERASED, "payload": "'{}'::jsonb", "reason": _GONE_IF_ANY.format("reason")},
        {
            "status": "CASE WHEN status = 'open' THEN 'discarded' ELSE status END",
            "closed_at": "coalesce(closed_at, now())",
            "closed_by": "CASE WHEN status = 'open' THEN :actor ELSE closed_by END",
        },
        Kind.STEP_INPUTS,
        hidden=("closed_by",),
    ),
    Holding(
        "agent_calls",
        _OF_JOURNEYS,
        {
            "error_text": _GONE_IF_ANY.format("error_text"),
            # The guard's reason is counted; what it quotes of the answer goes.
            "refusal": "coalesce(substring(refusal FROM '^[a-z_]+(?=[:]|$)'), " + _GONE_IF_ANY.format("refusal") + ")",
            "refused_answer": "NULL",
            "provider_message_id": "NULL",
            "task_id": "NULL",
        },
        # The first end counts: what a call still under way hears later is not written.
        {
            "status": "CASE WHEN status = 'running' THEN 'failed' ELSE status END",
            "error_code": "CASE WHEN status = 'running' THEN 'ERASED' ELSE error_code END",
            "finished_at": "coalesce(finished_at, now())",
        },
        Kind.AGENT_TEXTS,
    ),
    Holding(
        "conversations",
        "customer_id = :user_id",
        {"title": ERASED, "tags": "'[]'::jsonb", "owner": ERASED},
        {"ai_controlled": "false", "claimed_by_id": "NULL", "claimed_at": "NULL"},
        hidden=("claimed_by_id",),
    ),
    Holding(
        "claims",
        "conversation_id = ANY(:conversation_ids)",
        {"released_reason": _GONE_IF_ANY.format("released_reason")},
        {"released_at": "coalesce(released_at, now())"},
        hidden=("consultant_id",),
    ),
    Holding(
        "messages",
        "conversation_id = ANY(:conversation_ids)",
        {"content": """jsonb_build_object('type', 'text', 'text', '')"""},
        kind=Kind.MESSAGES,
        # By their own time: a conversation goes on long after the journey that opened it.
        pruned_where="id >= :first_id AND id < :next_id AND created_at < :until",
        hidden=("sender_id",),
    ),
    Holding("feedback", "user_id = :user_id", {"comment": "NULL"}),
    Holding(
        "agent_feedback",
        _OF_MESSAGES,
        {"comment": "NULL", "error_text": _GONE_IF_ANY.format("error_text")},
        {
            "status": "CASE WHEN status = 'pending' THEN 'failed' ELSE status END",
            "error_code": "CASE WHEN status = 'pending' THEN 'ERASED' ELSE error_code END",
            "sweep_at": "NULL",
            "lease_token": "NULL",
            "lease_until": "NULL",
        },
    ),
    Holding(
        "escalations",
        _OF_JOURNEYS,
        {},
        {
            "status": "CASE WHEN status = 'pending' THEN 'stopped' ELSE status END",
            "result": """CASE WHEN status = 'pending' THEN '{"reason": "erased"}'::jsonb ELSE result END""",
            "ended_at": "coalesce(ended_at, now())",
            "sweep_at": "NULL",
        },
        hidden=("result",),
    ),
    Holding(
        "notifications",
        _OF_JOURNEYS,
        {"payload": "'{}'::jsonb", "error_text": _GONE_IF_ANY.format("error_text")},
        _NOT_SENT | {"receipt_due_at": "NULL"},
        Kind.NOTIFICATIONS,
        hidden=("consultant_id", "lease_token", "lease_until", "sweep_at", "published"),
    ),
    Holding(
        "escalation_pushes",
        _OF_JOURNEYS,
        {"payload": "'{}'::jsonb", "error_text": _GONE_IF_ANY.format("error_text")},
        _NOT_SENT,
        Kind.NOTIFICATIONS,
        hidden=("consultant_id", "lease_token", "lease_until", "sweep_at", "published"),
    ),
    Holding(
        "appointments",
        "customer_id = :user_id",
        {"note": "NULL"},
        {"status": "CASE WHEN status = 'booked' AND starts_at > now() THEN 'cancelled' ELSE status END"},
        hidden=("created_by",),
    ),
    Holding(
        "consultation_records",
        "customer_id = :user_id",
        {"summary": ERASED, "outcome": "NULL"},
        hidden=("consultant_id",),
    ),
    Holding(
        "treatment_records", "customer_id = :user_id", {"notes": ERASED, "reactions": "'[]'::jsonb"}, hidden=("doctor",)
    ),
    Holding("treatment_plans", "customer_id = :user_id", {"items": "'{}'::jsonb"}, hidden=("created_by",)),
    Holding("webhook_receipts", _OF_JOURNEYS),
    Holding("auth_sessions", "user_id = :user_id", hidden=("cookie_hash",)),
    Holding("oidc_identities", "user_id = :user_id"),
    Holding(
        "users",
        "id = :user_id",
        {
            "external_id": "NULL",
            "username": ERASED,
            "email": "NULL",
            "phone": "NULL",
            "avatar": "NULL",
            "roles": """'["customer"]'::jsonb""",
            "primary_role": "'customer'",
            "locale": "NULL",
            "source": "NULL",
            "interests": "'[]'::jsonb",
            "extra": "'{}'::jsonb",
        },
        {"is_active": "false", "erased_at": "coalesce(erased_at, now())", "updated_at": "now()"},
        hidden=("password_hash",),
    ),
    # After the journeys, as where they are raised. By ids: what people are called stands in the alerts of others too.
    Holding(
        "alerts",
        "EXISTS (SELECT FROM unnest(:texts) AS known (id) WHERE strpos(body, known.id) > 0)",
        {"body": ERASED, "error_text": "NULL"},
        exported=False,
    ),
)
