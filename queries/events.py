"""What sockets are told, as rows: written with whatever they tell of, numbered after the commit, read in that order.

The writing functions belong into the transaction that causes the event; call `clients.fanout.announce` after its commit.
See docs/decisions/0006-events.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import bindparam

from core.database import Statements

# Events are kept this long for sockets that resume; older ones are to be had from the REST API.
KEPT_DAYS = 7
# Of a name, in a frame: long names are real, screens are not that wide.
NAME_CHARACTERS = 200

ALL_CONSULTANTS = "consultants"


def consultant_audience(consultant_id: UUID) -> str:
    """Return the audience that is one consultant, on all their devices."""
    return f"consultant:{consultant_id}"


def customer_audience(user_id: UUID) -> str:
    """Return the audience that is one customer, on all their devices."""
    return f"customer:{user_id}"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event to write. `recipients` narrows the audience of all consultants; `dedup_key` makes it happen once."""

    audience: str
    type: str
    data: dict[str, Any]
    recipients: Sequence[UUID] | None = None
    dedup_key: str | None = None
    journey_id: UUID | None = None


_APPEND = text("""
INSERT INTO events (audience, recipients, type, data, dedup_key, journey_id)
SELECT e.audience, CASE WHEN e.recipients IS NOT NULL THEN ARRAY(SELECT value::uuid FROM jsonb_array_elements_text(e.recipients)) END,
       e.type, e.data, e.dedup_key, e.journey_id
FROM jsonb_to_recordset(:events)
    AS e(audience text, recipients jsonb, type text, data jsonb, dedup_key text, journey_id uuid)
ON CONFLICT (dedup_key) DO NOTHING
""").bindparams(bindparam("events", type_=JSONB))


def append_events(session: Statements, events: Sequence[NewEvent]) -> None:
    """Write the events, in their order, in one statement; those whose `dedup_key` is known are left out. Takes no lock."""
    if not events:
        return
    rows = [
        {
            "audience": event.audience,
            "recipients": [str(one) for one in event.recipients] if event.recipients is not None else None,
            "type": event.type,
            "data": event.data,
            "dedup_key": event.dedup_key,
            "journey_id": str(event.journey_id) if event.journey_id else None,
        }
        for event in events
    ]
    session.execute(_APPEND, {"events": rows})


_NEW_CUSTOMERS = text("""
INSERT INTO events (audience, recipients, type, data, dedup_key, journey_id)
SELECT 'consultants',
       CASE WHEN :only_told THEN ARRAY(
           SELECT n.consultant_id FROM notifications n WHERE n.journey_id = j.id AND n.channel = 'websocket') END,
       'new_customer',
       jsonb_build_object(
           'title', CAST(:title AS text), 'message', CAST(:message AS text), 'customer_id', j.user_id,
           'conversation_id', v.id, 'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
           'action', 'claim_customer', 'username', left(u.username, :name_characters), 'locale', u.locale,
           'interests', u.interests, 'source', u.source, 'link', '/inbox/conversations/' || v.id,
           'expected_response_minutes', CAST(:expected_response_minutes AS integer)),
       'new_customer:' || j.id, j.id
FROM journeys j
JOIN users u ON u.id = j.user_id
LEFT JOIN conversations v ON v.journey_id = j.id
WHERE j.id = ANY(:journey_ids)
ORDER BY j.id
ON CONFLICT (dedup_key) DO NOTHING
""")


def append_new_customer_events(
    session: Statements,
    journey_ids: Sequence[UUID],
    *,
    title: str,
    message: str,
    expected_response_minutes: int,
    only_told: bool = False,
) -> None:
    """Tell consultants of these journeys' customers: one `new_customer` per journey, however often this is called.

    All consultants hear of it, or only those who have a notification for their socket.
    The frame's fields are those of requirements A5.1, with the customer's basic data. One statement for the whole set.
    """
    if not journey_ids:
        return
    session.execute(
        _NEW_CUSTOMERS,
        {
            "journey_ids": list(journey_ids),
            "title": title,
            "message": message,
            "expected_response_minutes": expected_response_minutes,
            "name_characters": NAME_CHARACTERS,
            "only_told": only_told,
        },
    )


# The customer is told of every message in their conversation. Of the consultants, the one who has claimed it; while nobody
# has, a message of the customer's is for all of them, and the AI's are nobody's business.
_MESSAGES = text("""
WITH said AS (
    SELECT m.*, v.customer_id, v.claimed_by_id,
           jsonb_build_object(
               'id', m.id, 'conversation_id', m.conversation_id, 'sender_type', m.sender_type, 'sender_id', m.sender_id,
               'sender_name', coalesce(c.display_name, left(u.username, :name_characters)), 'content', m.content, 'source', m.source,
               'created_at', to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) AS data
    FROM messages m
    JOIN conversations v ON v.id = m.conversation_id
    LEFT JOIN users u ON u.id = m.sender_id
    LEFT JOIN consultants c ON c.user_id = m.sender_id
    WHERE m.id = ANY(:message_ids)
),
told AS (
    SELECT 'customer:' || customer_id AS audience, * FROM said
    UNION ALL
    SELECT CASE WHEN claimed_by_id IS NULL THEN 'consultants' ELSE 'consultant:' || claimed_by_id END, * FROM said
    WHERE claimed_by_id IS NOT NULL OR sender_type = 'customer'
)
INSERT INTO events (audience, type, data, dedup_key, journey_id)
SELECT audience, 'message', data, 'message:' || id || ':' || split_part(audience, ':', 1), journey_id
FROM told ORDER BY created_at, id, audience
ON CONFLICT (dedup_key) DO NOTHING
""")


def append_message_events(session: Statements, message_ids: Sequence[UUID]) -> None:
    """Tell those concerned of these stored messages: once per message and side, however often this is called."""
    if message_ids:
        session.execute(_MESSAGES, {"message_ids": list(message_ids), "name_characters": NAME_CHARACTERS})


@dataclass(frozen=True, slots=True)
class Told:
    """One numbered event; `data` is JSON text, as it goes into the frame."""

    seq: int
    audience: str
    recipients: frozenset[UUID] | None
    type: str
    data: str


def number_events(session: Statements, *, most: int) -> int:
    """Give their numbers to events committed before this statement began; return how many got one.

    The numbers are others' to see once this transaction commits, and before any higher ones.
    """
    return int(session.execute(text("SELECT anmei_number_events(:most)"), {"most": most}).scalar_one())


def last_number(session: Statements) -> int:
    """Return the highest number given, 0 for none."""
    return int(session.execute(text("SELECT coalesce(max(seq), 0) FROM events")).scalar_one())


def first_number(session: Statements) -> int:
    """Return the lowest number that is still kept, 0 for none."""
    return int(session.execute(text("SELECT coalesce(min(seq), 0) FROM events")).scalar_one())


_COLUMNS = "seq, audience, recipients, type, data::text AS data"
_AFTER = text(f"SELECT {_COLUMNS} FROM events WHERE seq > :after ORDER BY seq LIMIT :most")
_OF_AUDIENCES = text(f"""
SELECT {_COLUMNS} FROM events
WHERE audience = ANY(:audiences) AND seq > :after AND seq <= :until
  AND (recipients IS NULL OR CAST(:recipient_id AS uuid) = ANY(recipients))
ORDER BY seq LIMIT :most
""")


def list_after(session: Statements, after: int, *, most: int) -> list[Told]:
    """Return the events with higher numbers, of all audiences, in order."""
    return [_told(row) for row in session.execute(_AFTER, {"after": after, "most": most})]


def list_missed(
    session: Statements, audiences: Sequence[str], *, recipient_id: UUID | None, after: int, until: int, most: int
) -> list[Told]:
    """Return what somebody of these audiences missed between the two numbers, in order; the second is included."""
    parameters = {
        "audiences": list(audiences),
        "recipient_id": recipient_id,
        "after": after,
        "until": until,
        "most": most,
    }
    return [_told(row) for row in session.execute(_OF_AUDIENCES, parameters)]


def _told(row: Any) -> Told:
    recipients = frozenset(row.recipients) if row.recipients is not None else None
    return Told(row.seq, row.audience, recipients, row.type, row.data)


# The lowest numbers are the oldest events but for those of transactions that overlapped: an index on the time, which every
# event would be entered in twice, tells no more.
_PRUNE = text("""
WITH gone AS (
    DELETE FROM events WHERE id IN (SELECT id FROM events WHERE seq IS NOT NULL ORDER BY seq LIMIT :most)
        AND created_at < now() - make_interval(days => :days)
    RETURNING 1
)
SELECT count(*) FROM gone
""")


def delete_old(session: Statements, *, days: int = KEPT_DAYS, most: int = 50_000) -> int:
    """Delete events older than that; return how many. At most `most` at once, so that nobody waits."""
    return int(session.execute(_PRUNE, {"days": days, "most": most}).scalar_one())
