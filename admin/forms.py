"""What browsers send: form bodies read and bounded, and filters of lists that may be empty."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from admin.i18n import ZONE
from core.errors import InvalidInputError

FIELDS_MAX = 3000
CONTENT_TYPE = "application/x-www-form-urlencoded"
_LONGEST_NUMBER = 18

Choice = TypeVar("Choice", bound=StrEnum)


class Form:
    """The fields of one form. A field that is missing reads as empty: browsers leave unticked boxes out."""

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value.replace("\x00", "").replace("\r\n", "\n"))

    def text(self, name: str) -> str:
        return self._values.get(name, [""])[-1]

    def line(self, name: str) -> str:
        return self.text(name).strip()

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def flag(self, name: str) -> bool:
        return name in self._values

    def names(self) -> list[str]:
        return list(self._values)


def read_form(body: bytes, content_type: str) -> Form:
    """Return the form; raise InvalidInputError for what no form of ours sends."""
    if body and content_type.split(";")[0].strip().lower() != CONTENT_TYPE:
        raise InvalidInputError(f"the body must be {CONTENT_TYPE}")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=False, max_num_fields=FIELDS_MAX, errors="replace"
        )
    except ValueError as error:
        raise InvalidInputError(f"the body is no form: {type(error).__name__}") from None
    return Form(pairs)


def choice(kind: type[Choice], value: str | None) -> Choice | None:
    """Return the member of this value; None for none or one that does not exist."""
    return next((one for one in kind if one.value == value), None)


def identifier(value: str | None) -> UUID | None:
    try:
        return UUID(value) if value else None
    except ValueError:
        return None


def whole(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() and len(value) <= _LONGEST_NUMBER else None


def moment(value: str | None) -> datetime | None:
    """Return the time a date or datetime-local field names, by the pages' clock."""
    try:
        found = datetime.fromisoformat(value) if value else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=ZONE)


def storable(value: str | None, most: int = 200) -> str | None:
    """Return a filter's text as the database takes it; None where nothing is left."""
    cleaned = "".join(one for one in value or "" if one != "\x00" and not "\ud800" <= one <= "\udfff").strip()
    return cleaned[:most] or None


def query_without(values: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return a page's query without these names and without what is empty, for links that keep its filters."""
    return {name: value for name, value in values.items() if name not in names and value}
