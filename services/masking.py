"""What of a customer's data is shown to whom: the one place for it, for the API and the pages.

Consultants look after customers and customers see their own, so both see everything of the conversations that are theirs to
see. Operators and administrators repair the machine: who it worked for they see only when they reveal it, which is audited.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.masking import masked_text
from models import AgentCall, DeadLetter, JourneyStep, Message, Notification, StepAttempt, User
from queries.conversations import ConversationRow
from queries.journeys_read import JourneyRow
from queries.progress import Record
from services.auth import Identity
from services.permissions import Role

MASK = "***"
# A text of this many characters keeps its first one, so that a line can be told from another.
_SHOWS_FIRST = 2
# Of JSON, whatever these fields hold is about the person.
PERSONAL_FIELDS = frozenset(
    {
        "username",
        "name",
        "email",
        "phone",
        "avatar",
        "text",
        "interests",
        "note",
        "comment",
        "customer_name",
    }
)
_SEES_CUSTOMERS = frozenset({Role.CONSULTANT, Role.CUSTOMER})


def sees_customers(who: Identity) -> bool:
    """Tell whether somebody's role has to do with customers themselves."""
    return not who.roles.isdisjoint(_SEES_CUSTOMERS)


def name(value: str) -> str:
    """Return a name, an address or a number as it is shown masked: its first character."""
    return value[:1] + MASK if len(value) >= _SHOWS_FIRST else MASK


def maybe(value: str | None) -> str | None:
    """Return the value masked, where there is one."""
    return name(value) if value else value


def prose(text: str, names: Iterable[str | None] = ()) -> str:
    """Return a text of ours, such as an error's, without addresses, numbers and what names the person."""
    return masked_text(without_names(text, names))


def said(text: str) -> str:
    """Return what stands for what somebody wrote to or about a customer: how long it was."""
    return f"{MASK} ({len(text)})" if text else ""


def without_names(text: str, names: Iterable[str | None]) -> str:
    """Return the text without these names, wherever they stand in it."""
    for one in sorted({value for value in names if value and len(value) >= _SHOWS_FIRST}, key=len, reverse=True):
        text = text.replace(one, MASK)
    return text


def document(value: Any, names: Iterable[str | None] = ()) -> Any:
    """Return JSON with personal fields masked and every other text without what names the person."""
    told = tuple(names)
    if isinstance(value, Mapping):
        return {key: _field(item) if key in PERSONAL_FIELDS else document(item, told) for key, item in value.items()}
    if isinstance(value, list):
        return [document(item, told) for item in value]
    return prose(value, told) if isinstance(value, str) else value


def names_of(person: User) -> tuple[str | None, ...]:
    """Return what names a person wherever it stands. Their `user_id` is not among it: operators look journeys up by it."""
    return person.username, person.email, person.phone, person.avatar


def user(person: User, *, shown: bool) -> User:
    """Return a row that belongs to no transaction, a customer's name masked; staff made here has its names to be told by."""
    if not shown and person.external_id is not None:
        person.username = name(person.username)
        person.email, person.phone, person.avatar = maybe(person.email), maybe(person.phone), maybe(person.avatar)
        person.interests, person.extra = [MASK for _ in person.interests], {}
    return person


def journey(row: JourneyRow) -> JourneyRow:
    """Return a row of the list of journeys, masked."""
    return replace(row, username=name(row.username), reason=_prose_or_none(row.reason, [row.username]))


def record(found: Record, steps: Sequence[JourneyStep], names: Iterable[str | None]) -> None:
    """Mask what a journey's record says of its customer. Its rows must belong to no transaction: they are changed."""
    told = tuple(names)
    found.journey.reason = _prose_or_none(found.journey.reason, told)
    for message in found.messages:
        hide_message(message)
    for letter in found.dead_letters:
        dead_letter(letter, told)
    for step in steps:
        step.payload, step.result = document(step.payload, told), document(step.result, told)
    for call in found.agent_calls:
        call.refusal, call.refused_answer = _prose_or_none(call.refusal, told), said(call.refused_answer or "") or None
    failing: list[JourneyStep | StepAttempt | AgentCall | Notification] = [
        *steps,
        *found.attempts,
        *found.agent_calls,
        *found.notifications,
    ]
    for row in failing:
        row.error_text = _prose_or_none(row.error_text, told)
    if found.conversation is not None:
        found.conversation.title = prose(found.conversation.title, told)
        found.conversation.tags = [prose(one, told) for one in found.conversation.tags]


def dead_letter(letter: DeadLetter, names: Iterable[str | None]) -> DeadLetter:
    """Return a row that belongs to no transaction, masked."""
    told = tuple(names)
    letter.payload = document(letter.payload, told)
    letter.error_text, letter.reason = prose(letter.error_text, told), _prose_or_none(letter.reason, told)
    return letter


def conversation(row: ConversationRow) -> ConversationRow:
    """Return a conversation with its customer masked."""
    told = (row.customer_name,)
    return replace(
        row,
        customer_name=name(row.customer_name),
        customer_interests=[MASK for _ in row.customer_interests],
        title=prose(row.title, told),
        tags=[prose(one, told) for one in row.tags],
    )


def hide_message(message: Message) -> Message:
    """Return a row that belongs to no transaction; of its text is left how long it was."""
    message.content = {"type": message.content.get("type", "text"), "text": said(str(message.content.get("text", "")))}
    return message


def _prose_or_none(text: str | None, names: Iterable[str | None]) -> str | None:
    return prose(text, names) if text is not None else None


def _field(value: Any) -> Any:
    if isinstance(value, list):
        return [MASK for _ in value]
    if isinstance(value, Mapping):
        return {key: _field(item) for key, item in value.items()}
    return name(value) if isinstance(value, str) else (value if value is None else MASK)
