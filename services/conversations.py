"""Conversations between a customer, the AI and a consultant: who sees them, who has them, what is said in them."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from clients import fanout
from core.clock import utc_now
from core.database import unit_of_work
from core.errors import ConflictError, InvalidInputError, NotAllowedError, NotFoundError
from core.ids import new_id
from models import Feedback, Message, SenderType
from queries import consultants as consultant_queries
from queries import conversations as queries
from queries import events
from queries.conversations import ConversationRow
from services import agent_feedback, audit, escalations, masking
from services.auth import Identity
from services.permissions import STAFF, Permission, Role

# A conversation released between losing it and asking who has it is tried for again; more often than this is no accident.
CLAIM_TRIES = 3


class View(StrEnum):
    """Which conversations are listed."""

    WAITING = "waiting"
    MINE = "mine"
    ALL = "all"


class AlreadyClaimedError(ConflictError):
    """Somebody else was first; `holder` is their name."""

    code = "ALREADY_CLAIMED"

    def __init__(self, holder: str) -> None:
        super().__init__(f"{holder} has this conversation")
        self.holder = holder


def get(conversation_id: UUID, who: Identity) -> ConversationRow:
    """Return the conversation; raise NotFoundError also where it is not theirs to see."""
    with unit_of_work() as session:
        return _visible(session, conversation_id, who)


def listed(view: View, who: Identity, *, before: UUID | None, limit: int) -> list[ConversationRow]:
    """Return conversations, newest first. A customer's are their own, whatever the view.

    Here as everywhere in this module nothing is masked: what an operator is shown of it, the caller asks services.reveal.
    """
    is_staff = not who.roles.isdisjoint(STAFF)
    if is_staff and view is View.MINE and who.consultant_id is None:
        return []
    with unit_of_work() as session:
        return queries.list_conversations(
            session,
            view if is_staff else "own",
            consultant_id=who.consultant_id,
            customer_id=who.user_id,
            before=before,
            limit=limit,
        )


def messages(
    conversation_id: UUID, who: Identity, *, after: UUID | None, newest_first: bool, limit: int
) -> Sequence[Message]:
    """Return messages in their order, or the newest first; raises what `get` raises."""
    with unit_of_work() as session:
        _visible(session, conversation_id, who)
        return queries.list_messages(session, conversation_id, after=after, newest_first=newest_first, limit=limit)


def claim(conversation_id: UUID, who: Identity) -> ConversationRow:
    """Take a conversation that nobody has; idempotent for who has it already. Everybody's inbox hears of it at once.

    Who was given the customer by the ladder accepts them so: it stops, and the AI falls silent. Raises NotFoundError, NotAllowedError for who is no consultant, and AlreadyClaimedError with the winner's name.
    """
    who.require(Permission.CLAIM_CUSTOMERS)
    consultant_id = _consultant(who)
    for _ in range(CLAIM_TRIES):
        with unit_of_work() as session:
            won = queries.claim(session, conversation_id, consultant_id)
            found = queries.get_conversation(session, conversation_id)
            if won:
                subject = f"conversation:{conversation_id}"
                audit.record(session, actor=who.actor, action="conversation.claim", subject=subject)
                escalations.stop(session, conversation_id, reason="claimed")
            elif found.claimed_by_id == consultant_id:
                found = _accept(session, found, who)
        if won:
            fanout.announce()
        if won or found.claimed_by_id == consultant_id:
            return found
        if found.claimed_by is not None:
            raise AlreadyClaimedError(found.claimed_by)
    raise ConflictError("the conversation changes hands all the time", code="CLAIM_UNSETTLED")


def release(conversation_id: UUID, who: Identity, *, reason: str = "released") -> ConversationRow:
    """Give a conversation back; the AI may answer again. Its consultant may, and operators may for them. Idempotent."""
    with unit_of_work() as session:
        found = _visible(session, conversation_id, who)
        if who.roles.isdisjoint(STAFF):
            raise NotAllowedError("customers do not give conversations back")
        if found.claimed_by_id is None:
            return found
        _require_holder(found, who, f"{found.claimed_by} has this conversation")
        if queries.release(session, conversation_id, found.claimed_by_id, reason=reason):
            _audit(
                session,
                who,
                "conversation.release",
                conversation_id,
                {"from": found.claimed_by, "reason": masking.prose(reason, [found.customer_name])},
            )
            escalations.stop(session, conversation_id, reason="released")
            escalations.start_again(session, conversation_id, found.journey_id)
        found = queries.get_conversation(session, conversation_id)
    fanout.announce()
    return found


def transfer(conversation_id: UUID, who: Identity, *, to_consultant_id: UUID) -> ConversationRow:
    """Hand a conversation over to another consultant, in one step: nobody can take it in between."""
    with unit_of_work() as session:
        found = _visible(session, conversation_id, who)
        _require_holder(found, who, "only who has the conversation, or an operator, can hand it over")
        there = {one.consultant_id: one.display_name for one in consultant_queries.list_presence(session)}
        if to_consultant_id not in there:
            raise InvalidInputError("consultant_id: no such consultant")
        queries.lock_conversation(session, conversation_id)
        if found.claimed_by_id is not None:
            queries.release(session, conversation_id, found.claimed_by_id, reason="transferred")
        if not queries.claim(session, conversation_id, to_consultant_id):
            raise ConflictError("the conversation changed hands meanwhile", code="CLAIM_UNSETTLED")
        escalations.stop(session, conversation_id, reason="transferred")
        _audit(session, who, "conversation.transfer", conversation_id, {"to": there[to_consultant_id]})
        found = queries.get_conversation(session, conversation_id)
    fanout.announce()
    return found


def say(conversation_id: UUID, who: Identity, content: dict[str, str]) -> Message:
    """Store what a customer or a consultant says and tell those concerned.

    A consultant who speaks takes over: AI control goes off, and a conversation nobody has becomes theirs. Raises
    NotFoundError, NotAllowedError for who only reads along, AlreadyClaimedError where another consultant has it.
    """
    with unit_of_work() as session:
        found = _visible(session, conversation_id, who)
        queries.lock_conversation(session, conversation_id)
        if who.user_id == found.customer_id:
            sender = SenderType.CUSTOMER
        else:
            sender = SenderType.CONSULTANT
            _take_over(session, conversation_id, _consultant(who))
            escalations.stop(session, conversation_id, reason="replied")
        message = queries.insert_message(
            session, conversation_id, sender_type=sender, sender_id=who.user_id, content=dict(content)
        )
        events.append_message_events(session, [message.id])
        queries.move_read_mark(session, conversation_id, who.user_id, message.created_at)
    fanout.announce()
    return message


def set_ai_control(conversation_id: UUID, who: Identity, *, enabled: bool) -> ConversationRow:
    """Let the AI answer, or keep it from answering; its consultant or an operator may. Idempotent."""
    with unit_of_work() as session:
        found = _visible(session, conversation_id, who)
        _require_holder(found, who, "only who has the conversation, or an operator, can switch the AI")
        queries.lock_conversation(session, conversation_id).ai_controlled = enabled
        session.flush()
        _audit(session, who, "conversation.ai_control", conversation_id, {"enabled": enabled})
        return queries.get_conversation(session, conversation_id)


def mark_read(conversation_id: UUID, who: Identity, *, until: datetime | None = None) -> dict[UUID, datetime]:
    """Note that they read everything up to then, now at the latest; return everybody's marks."""
    with unit_of_work() as session:
        _visible(session, conversation_id, who)
        queries.move_read_mark(session, conversation_id, who.user_id, min(until or utc_now(), utc_now()))
        return queries.list_read_marks(session, conversation_id)


def give_feedback(message_id: UUID, who: Identity, *, rating: int, comment: str | None) -> tuple[Feedback, bool]:
    """Store a customer's rating, 1 to 5, of a message they got; a second one replaces the first.

    The second value says that an agent wrote the message and its provider is to be told, which the row asks for.
    Raises NotFoundError for a message that is not in their conversation, InvalidInputError for one they wrote themselves.
    """
    who.require(Permission.RATE_MESSAGES)
    with unit_of_work() as session:
        found = queries.find_message_of(session, message_id)
        if found is None or found[1].customer_id != who.user_id:
            raise NotFoundError("no such message", code="MESSAGE_NOT_FOUND")
        if found[0].sender_type == SenderType.CUSTOMER:
            raise InvalidInputError("a customer rates what they were told, not what they said")
        given = queries.upsert_feedback(
            session, message_id, who.user_id, feedback_id=new_id(), rating=rating, comment=comment
        )
        return given, agent_feedback.note(session, message_id, rating=rating, comment=comment)


def _accept(session: Session, found: ConversationRow, who: Identity) -> ConversationRow:
    """Stop the ladder that gave this consultant the customer; nothing where it stopped before."""
    conversation = queries.lock_conversation(session, found.id)
    if conversation.claimed_by_id == found.claimed_by_id and escalations.stop(session, found.id, reason="claimed"):
        conversation.ai_controlled = False
        session.flush()
        _audit(session, who, "conversation.claim", found.id, {"given_by": "escalation"})
    return queries.get_conversation(session, found.id)


def _take_over(session: Session, conversation_id: UUID, consultant_id: UUID) -> None:
    """Make the locked conversation this consultant's; raise AlreadyClaimedError where it is another's."""
    if queries.claim(session, conversation_id, consultant_id):
        return
    found = queries.get_conversation(session, conversation_id)
    if found.claimed_by_id != consultant_id:
        raise AlreadyClaimedError(str(found.claimed_by))
    queries.lock_conversation(session, conversation_id).ai_controlled = False


def _visible(session: Session, conversation_id: UUID, who: Identity) -> ConversationRow:
    """Return the conversation if staff asks, or the customer whose it is; raise NotFoundError."""
    found = queries.get_conversation(session, conversation_id)
    if who.roles.isdisjoint(STAFF) and not (Role.CUSTOMER in who.roles and found.customer_id == who.user_id):
        raise queries.not_found()
    return found


def _require_holder(found: ConversationRow, who: Identity, refusal: str) -> None:
    """Let pass the consultant who has the conversation, and operators; raise NotAllowedError for anybody else."""
    # Who is no consultant has no conversation, least of all those that nobody has.
    holds = who.consultant_id is not None and found.claimed_by_id == who.consultant_id
    if not holds and not who.may(Permission.REPAIR_JOURNEYS):
        raise NotAllowedError(refusal)


def _consultant(who: Identity) -> UUID:
    if who.consultant_id is None:
        raise NotAllowedError("only consultants take part in conversations")
    return who.consultant_id


def _audit(session: Session, who: Identity, action: str, conversation_id: UUID, after: dict[str, object]) -> None:
    audit.record(session, actor=who.actor, action=action, subject=f"conversation:{conversation_id}", after=after)
