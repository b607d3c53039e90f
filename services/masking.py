"""What of a customer's data is shown to whom: the one place for it, for the API and the pages.

Consultants look after customers and customers see their own, so both see everything of the conversations that are theirs to
see. Operators and administrators repair the machine: who it worked for they see only when they reveal it, which is audited.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from core.logging import mask_phone_numbers
from services.auth import Identity
from services.permissions import Role

MASK = "***"
# A text of this many characters keeps its first one, so that a line can be told from another.
_SHOWS_FIRST = 2
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
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
        "title",
        "tags",
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
    return mask_phone_numbers(_EMAIL.sub(MASK, without_names(text, names)))


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


def _field(value: Any) -> Any:
    if isinstance(value, list):
        return [MASK for _ in value]
    if isinstance(value, Mapping):
        return {key: _field(item) for key, item in value.items()}
    return name(value) if isinstance(value, str) else (value if value is None else MASK)
