"""Conversations over HTTP: read, claimed, released, spoken in, rated."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api_hooks.auth import Origin, require
from api_hooks.fields import LIMIT_DEFAULT, Cursor, Input, Limit, LongText, Moment, Reveal, Text, cursor_of, read_cursor
from api_hooks.responses import Envelope, Page
from models import Message
from queries.conversations import ConversationRow
from services import conversations, masking, reveal
from services.auth import Identity
from services.conversations import View
from services.permissions import Permission
from tasks.publish import publish_agent_feedback

router = APIRouter(tags=["conversations"])

Someone = Annotated[Identity, Depends(require(Permission.CONVERSE))]
Claimer = Annotated[Identity, Depends(require(Permission.CLAIM_CUSTOMERS))]
Rater = Annotated[Identity, Depends(require(Permission.RATE_MESSAGES))]


class ConversationOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

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


class MessageOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    conversation_id: UUID
    sender_type: str
    sender_id: UUID | None
    content: dict[str, Any]
    source: str | None
    created_at: datetime


class TextContent(Input):
    type: Literal["text"] = "text"
    text: LongText


class NewMessage(Input):
    """`content`, or for short `text`: one of the two."""

    content: TextContent | None = None
    text: LongText | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.content is None) == (self.text is None):
            raise ValueError("give either content or text")
        return self


class Release(Input):
    reason: Text = "released"


class Transfer(Input):
    consultant_id: UUID


class AiControl(Input):
    enabled: bool


class ReadUntil(Input):
    until: Moment | None = None


class ReadMarkOut(BaseModel):
    user_id: UUID
    read_until: datetime


class NewFeedback(Input):
    rating: Annotated[int, Field(ge=1, le=5, strict=True)]
    comment: LongText | None = None


class FeedbackOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    message_id: UUID
    rating: int
    comment: str | None
    updated_at: datetime


@router.get("/conversations", summary="List conversations, newest first")
def list_conversations(
    who: Someone,
    origin: Origin,
    view: Annotated[View, Query(description="Those nobody has, those the caller has, or all.")] = View.ALL,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    revealed: Reveal = False,
) -> Envelope[Page[ConversationOut]]:
    """Answer conversations; a customer gets their own, whatever the view. Customers are masked for operators."""
    found = conversations.listed(view, who, before=read_cursor(cursor), limit=limit + 1)
    shown = reveal.shows(who, [_subject(row.id) for row in found[:limit]], asked=revealed, origin=origin)
    items = [ConversationOut.model_validate(row if shown else masking.conversation(row)) for row in found[:limit]]
    next_cursor = cursor_of(items[-1].id) if len(found) > limit else None
    return Envelope(data=Page(items=items, next_cursor=next_cursor))


@router.get("/conversations/{conversation_id}", summary="One conversation")
def get_conversation(
    conversation_id: UUID, who: Someone, origin: Origin, revealed: Reveal = False
) -> Envelope[ConversationOut]:
    """Answer the conversation; 404 also where it is not the caller's to see."""
    found = conversations.get(conversation_id, who)
    shown = reveal.shows(who, [_subject(conversation_id)], asked=revealed, origin=origin)
    return Envelope(data=ConversationOut.model_validate(found if shown else masking.conversation(found)))


@router.get("/conversations/{conversation_id}/messages", summary="What was said")
def list_messages(
    conversation_id: UUID,
    who: Someone,
    origin: Origin,
    order: Annotated[Literal["oldest", "newest"], Query(description="Which come first.")] = "oldest",
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    revealed: Reveal = False,
) -> Envelope[Page[MessageOut]]:
    """Answer messages in their order, or the newest first; operators see how long each is unless they reveal them."""
    found = conversations.messages(
        conversation_id, who, after=read_cursor(cursor), newest_first=order == "newest", limit=limit + 1
    )
    shown = reveal.shows(who, [_subject(conversation_id)], asked=revealed, origin=origin)
    items = [MessageOut.model_validate(one if shown else masking.hide_message(one)) for one in found[:limit]]
    next_cursor = cursor_of(items[-1].id) if len(found) > limit else None
    return Envelope(data=Page(items=items, next_cursor=next_cursor))


@router.post("/conversations/{conversation_id}/messages", status_code=201, summary="Say something")
def post_message(conversation_id: UUID, body: NewMessage, who: Someone) -> Envelope[MessageOut]:
    """Store a message. A consultant who speaks has taken over: the AI falls silent, the conversation is theirs."""
    content = body.content or TextContent(text=body.text or "")
    message: Message = conversations.say(conversation_id, who, content.model_dump())
    return Envelope(data=MessageOut.model_validate(message), message="stored")


@router.post("/conversations/{conversation_id}/claim", summary="Take a customer; the first one wins")
def claim(conversation_id: UUID, who: Claimer) -> Envelope[ConversationOut]:
    """Take the conversation. 409 ALREADY_CLAIMED names in `holder` who was first."""
    return _shown(conversations.claim(conversation_id, who), who, "claimed")


@router.post("/conversations/{conversation_id}/release", summary="Give a customer back")
def release(conversation_id: UUID, who: Someone, body: Release | None = None) -> Envelope[ConversationOut]:
    """Give the conversation back to all; the AI may answer again."""
    reason = (body or Release()).reason
    return _shown(conversations.release(conversation_id, who, reason=reason), who, "released")


@router.post("/conversations/{conversation_id}/transfer", summary="Hand a customer over to a colleague")
def transfer(conversation_id: UUID, body: Transfer, who: Someone) -> Envelope[ConversationOut]:
    """Give the conversation to another consultant, with no moment in between in which a third could take it."""
    return _shown(conversations.transfer(conversation_id, who, to_consultant_id=body.consultant_id), who, "transferred")


@router.put("/conversations/{conversation_id}/ai-control", summary="Switch the AI on or off")
def set_ai_control(conversation_id: UUID, body: AiControl, who: Someone) -> Envelope[ConversationOut]:
    """Let the AI answer in this conversation, or not."""
    return _shown(conversations.set_ai_control(conversation_id, who, enabled=body.enabled), who)


@router.post("/conversations/{conversation_id}/read", summary="Mark as read")
def mark_read(conversation_id: UUID, who: Someone, body: ReadUntil | None = None) -> Envelope[list[ReadMarkOut]]:
    """Note that the caller read everything until then (now if not said); answer everybody's marks."""
    marks = conversations.mark_read(conversation_id, who, until=(body or ReadUntil()).until)
    return Envelope(data=[ReadMarkOut(user_id=user, read_until=until) for user, until in marks.items()])


@router.post("/messages/{message_id}/feedback", summary="Rate a message from 1 to 5")
def give_feedback(
    message_id: UUID, body: NewFeedback, who: Rater, afterwards: BackgroundTasks
) -> Envelope[FeedbackOut]:
    """Store the customer's rating; a second one replaces the first. The agent that wrote the message hears of it later."""
    given, to_be_told = conversations.give_feedback(message_id, who, rating=body.rating, comment=body.comment)
    if to_be_told:
        # After the answer: a broker that is away keeps nobody waiting, and the sweep sends what it lost.
        afterwards.add_task(publish_agent_feedback, [message_id])
    return Envelope(data=FeedbackOut.model_validate(given), message="thank you")


def _shown(row: ConversationRow, who: Identity, message: str = "") -> Envelope[ConversationOut]:
    shown = row if masking.sees_customers(who) else masking.conversation(row)
    return Envelope(data=ConversationOut.model_validate(shown), message=message)


def _subject(conversation_id: UUID) -> str:
    return f"conversation:{conversation_id}"
