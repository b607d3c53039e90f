"""Conversations and messages: reads, and the statements that claim, release and say something."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

from core.clock import utc_now
from core.errors import NotFoundError
from models import Conversation, Feedback, Message, ReadMark

_COLUMNS = """
SELECT v.id, v.customer_id, left(u.username, 200) AS customer_name, u.locale AS customer_locale, u.interests AS customer_interests,
       u.source AS customer_source, v.journey_id, v.title, v.tags, v.owner, v.ai_controlled, v.claimed_by_id,
       c.display_name AS claimed_by, v.claimed_at, v.created_at, v.updated_at
FROM conversations v
JOIN users u ON u.id = v.customer_id
LEFT JOIN consultants c ON c.id = v.claimed_by_id
-- Of somebody who was erased only the journey's record is left to see.
WHERE u.erased_at IS NULL"""


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation with its customer's basics and the name of whoever has claimed it."""

    id: UUID
    customer_id: UUID
    customer_name: str
    customer_locale: str | None
    customer_interests: list[str]
    customer_source: str | None
    journey_id: UUID | None
    title: str
    tags: list[str]
    owner: str
    ai_controlled: bool
    claimed_by_id: UUID | None
    claimed_by: str | None
    claimed_at: datetime | None
    created_at: datetime
    updated_at: datetime


def not_found() -> NotFoundError:
    """Return the error for a conversation that is missing, or not the caller's to see: they are not told which."""
    return NotFoundError("no such conversation", code="CONVERSATION_NOT_FOUND")


def get_conversation(session: Session, conversation_id: UUID) -> ConversationRow:
    """Return the conversation; raise NotFoundError."""
    row = session.execute(text(f"{_COLUMNS} AND v.id = :id"), {"id": conversation_id}).one_or_none()
    if row is None:
        raise not_found()
    return ConversationRow(**row._mapping)


def lock_conversation(session: Session, conversation_id: UUID) -> Conversation:
    """Return the conversation, its row locked until the transaction ends; raise NotFoundError."""
    found = session.scalars(
        select(Conversation).where(Conversation.id == conversation_id).with_for_update(key_share=True)
    ).one_or_none()
    if found is None:
        raise not_found()
    return found


# Which conversations are listed, as a condition each, in a table so that none is put together from what a caller sent.
_VIEWS = {
    "waiting": "v.claimed_by_id IS NULL",
    "mine": "v.claimed_by_id = :consultant_id",
    "all": "true",
    "own": "v.customer_id = :customer_id",
}


def list_conversations(
    session: Session,
    view: str,
    *,
    consultant_id: UUID | None,
    customer_id: UUID | None,
    before: UUID | None,
    limit: int,
) -> list[ConversationRow]:
    """Return the view's conversations, newest first."""
    going_on = "AND v.id < :before" if before is not None else ""
    statement = text(f"{_COLUMNS} AND {_VIEWS[view]} {going_on} ORDER BY v.id DESC LIMIT :limit")
    parameters: dict[str, Any] = {"limit": limit}
    if "consultant_id" in _VIEWS[view]:
        parameters["consultant_id"] = consultant_id
    if "customer_id" in _VIEWS[view]:
        parameters["customer_id"] = customer_id
    if before is not None:
        parameters["before"] = before
    return [ConversationRow(**row._mapping) for row in session.execute(statement, parameters)]


def list_messages(
    session: Session, conversation_id: UUID, *, after: UUID | None, newest_first: bool, limit: int
) -> Sequence[Message]:
    """Return the conversation's messages in their order, or the newest first; `after` is the last one of the page before."""
    query = select(Message).where(Message.conversation_id == conversation_id).limit(limit)
    query = query.order_by(Message.id.desc() if newest_first else Message.id)
    if after is not None:
        query = query.where(Message.id < after if newest_first else Message.id > after)
    return session.scalars(query).all()


# Everybody's inbox shows a claim at once, so the event is written with it; the customer hears who looks after them.
_CLAIM = text("""
WITH taken AS (
    UPDATE conversations SET claimed_by_id = :consultant_id, claimed_at = now(), ai_controlled = false, updated_at = now()
    WHERE id = :conversation_id AND claimed_by_id IS NULL
    RETURNING id, customer_id, journey_id, created_at
),
noted AS (
    INSERT INTO claims (id, conversation_id, consultant_id, waited_ms)
    SELECT anmei_uuid7(), t.id, :consultant_id,
           least(2147483647, greatest(0, extract(epoch FROM now() - coalesce(j.notified_at, t.created_at)) * 1000))::integer
    FROM taken t LEFT JOIN journeys j ON j.id = t.journey_id
    RETURNING waited_ms
),
told AS (
    INSERT INTO events (audience, type, data, journey_id)
    SELECT a.audience, 'customer_claimed',
           jsonb_build_object('conversation_id', t.id, 'customer_id', t.customer_id, 'consultant_id', c.id,
                              'consultant_name', c.display_name, 'waited_ms', n.waited_ms), t.journey_id
    FROM taken t
    JOIN consultants c ON c.id = :consultant_id
    CROSS JOIN noted n
    CROSS JOIN LATERAL (VALUES ('consultants'), ('customer:' || t.customer_id)) AS a(audience)
)
SELECT id FROM taken
""")


def claim(session: Session, conversation_id: UUID, consultant_id: UUID) -> bool:
    """Give the conversation to the consultant if nobody has it, and tell everybody; return whether that was so.

    One conditional UPDATE: of many at once, one wins.
    """
    parameters = {"conversation_id": conversation_id, "consultant_id": consultant_id}
    return session.execute(_CLAIM, parameters).scalar() is not None


_RELEASE = text("""
WITH freed AS (
    UPDATE conversations SET claimed_by_id = NULL, claimed_at = NULL, ai_controlled = true, updated_at = now()
    WHERE id = :conversation_id AND claimed_by_id = :consultant_id
    RETURNING id, customer_id, journey_id
),
noted AS (
    UPDATE claims k SET released_at = now(), released_reason = :reason
    FROM freed f WHERE k.conversation_id = f.id AND k.released_at IS NULL
),
told AS (
    INSERT INTO events (audience, type, data, journey_id)
    SELECT 'consultants', 'customer_released',
           jsonb_build_object('conversation_id', f.id, 'customer_id', f.customer_id, 'consultant_id', c.id,
                              'consultant_name', c.display_name, 'reason', CAST(:reason AS text)), f.journey_id
    FROM freed f JOIN consultants c ON c.id = :consultant_id
)
SELECT id FROM freed
""")


def release(session: Session, conversation_id: UUID, consultant_id: UUID, *, reason: str) -> bool:
    """Take the conversation from the consultant who has it, and tell everybody; return whether they had it."""
    parameters = {"conversation_id": conversation_id, "consultant_id": consultant_id, "reason": reason}
    return session.execute(_RELEASE, parameters).scalar() is not None


# The database's clock makes the id, as it makes those of the engine's messages: a conversation has one order.
_SAY = text("""
INSERT INTO messages (id, conversation_id, sender_type, sender_id, content)
VALUES (anmei_uuid7(), :conversation_id, :sender_type, :sender_id, :content)
RETURNING id
""").bindparams(bindparam("content", type_=JSONB))


def insert_message(
    session: Session, conversation_id: UUID, *, sender_type: str, sender_id: UUID, content: dict[str, Any]
) -> Message:
    """Store what a person said; return it."""
    message_id = session.execute(
        _SAY,
        {
            "conversation_id": conversation_id,
            "sender_type": sender_type,
            "sender_id": sender_id,
            "content": content,
        },
    ).scalar_one()
    return session.get_one(Message, message_id)


def find_message_of(session: Session, message_id: UUID) -> tuple[Message, Conversation] | None:
    """Return a message with its conversation."""
    row = session.execute(
        select(Message, Conversation)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Message.id == message_id)
    ).one_or_none()
    return (row[0], row[1]) if row else None


def upsert_feedback(
    session: Session, message_id: UUID, user_id: UUID, *, feedback_id: UUID, rating: int, comment: str | None
) -> Feedback:
    """Store the user's rating of the message; a later one replaces it."""
    values = {"rating": rating, "comment": comment, "updated_at": utc_now()}
    insert = pg_insert(Feedback).values(id=feedback_id, message_id=message_id, user_id=user_id, **values)
    return session.scalars(
        insert.on_conflict_do_update(index_elements=["message_id", "user_id"], set_=values).returning(Feedback)
    ).one()


def move_read_mark(session: Session, conversation_id: UUID, user_id: UUID, until: datetime) -> None:
    """Note up to when the user read; the mark never goes back."""
    insert = pg_insert(ReadMark).values(conversation_id=conversation_id, user_id=user_id, read_until=until)
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["conversation_id", "user_id"],
            set_={"read_until": until},
            where=ReadMark.read_until < insert.excluded.read_until,
        )
    )


def list_read_marks(session: Session, conversation_id: UUID) -> dict[UUID, datetime]:
    """Return up to when each user read the conversation."""
    rows = session.execute(
        select(ReadMark.user_id, ReadMark.read_until).where(ReadMark.conversation_id == conversation_id)
    )
    return {row.user_id: row.read_until for row in rows}
