"""A customer's conversations and consultations, and the business in numbers, as tools tell of them."""

from datetime import timedelta
from typing import Any

from core.clock import utc_now
from models import Conversation, Message
from queries import business
from queries import customer_records as queries
from services.mcp_work import CallContext


def conversation_data(context: CallContext, user_id: str, limit: int) -> dict[str, Any]:
    """Return the customer's newest conversation with its last messages; `conversation` is null where there is none."""
    with context.session() as session:
        user = context.user(session, user_id)
        found = queries.list_conversations(session, user.id, 1)
        messages = queries.list_last_messages(session, found[0].id, limit) if found else []
    return {
        "user_id": user_id,
        "conversation": _conversation(found[0]) if found else None,
        "messages": [_message(message) for message in messages],
    }


def consultation_history(context: CallContext, user_id: str, limit: int) -> dict[str, Any]:
    """Return consultations, conversations and plans of a customer, each newest first."""
    with context.session() as session:
        user = context.user(session, user_id)
        consultations = queries.list_consultations(session, user.id, limit)
        conversations = queries.list_conversations(session, user.id, limit)
        plans = queries.list_plans(session, user.id, limit)
    return {
        "user_id": user_id,
        "consultations": [
            {"occurred_at": one.occurred_at.isoformat(), "summary": one.summary, "outcome": one.outcome}
            for one in consultations
        ],
        "conversations": [_conversation(one) for one in conversations],
        "plans": [
            {"plan_id": str(plan.id), "created_at": plan.created_at.isoformat(), "budget_yuan": plan.budget_yuan}
            | plan.items
            for plan in plans
        ],
    }


def business_metrics(context: CallContext, days: int) -> dict[str, Any]:
    """Return the business's numbers of the last days; no customer is named."""
    since = utc_now() - timedelta(days=days)
    with context.session() as session:
        journeys = business.journeys_by_status(session, since)
        finished = journeys.get("succeeded", 0) + journeys.get("failed", 0)
        return {
            "days": days,
            "registrations": business.count_registrations(session, since),
            "registrations_by_source": business.registrations_by(session, since),
            "journeys": journeys,
            "journey_success_rate": round(journeys.get("succeeded", 0) / finished, 4) if finished else None,
            "average_seconds_to_greeting": business.average_greeting_seconds(session, since),
            "conversations": business.count_conversations(session, since),
            "messages": business.messages_by_sender(session, since),
        }


def _conversation(conversation: Conversation) -> dict[str, Any]:
    return {
        "conversation_id": str(conversation.id),
        "title": conversation.title,
        "tags": conversation.tags,
        "owner": conversation.owner,
        "ai_controlled": conversation.ai_controlled,
        "claimed": conversation.claimed_at is not None,
        "created_at": conversation.created_at.isoformat(),
    }


def _message(message: Message) -> dict[str, Any]:
    return {"from": message.sender_type, "at": message.created_at.isoformat(), "content": message.content}
