"""Types of what callers send: bounded, and storable in PostgreSQL, so that a bad value is their 422 and not our 500."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from core.errors import InvalidInputError
from core.storable import storable

LIMIT_DEFAULT = 50
LIMIT_MAX = 200


Text = Annotated[str, Field(max_length=200), AfterValidator(storable)]
RequiredText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]
LongText = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(storable)]
# A JSON object of the caller's making, to be validated by the service and stored.
JsonObject = Annotated[dict[str, Any], BeforeValidator(storable)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=200)]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many items at most.")]
Moment = AwareDatetime
Reveal = Annotated[
    bool,
    Query(alias="reveal", description="Show customers unmasked to operators and administrators; each look is audited."),
]


class Input(BaseModel):
    """A body: what it does not name is refused rather than ignored, so that a typing error is noticed."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


def _read_cursor(value: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(value + "=="))
    except (binascii.Error, ValueError):
        raise InvalidInputError("the cursor is not one that this list gave out", code="INVALID_CURSOR") from None


def cursor_of(value: UUID) -> str:
    """Return an opaque cursor: the list goes on after this id."""
    return base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")


def read_cursor(value: str | None) -> UUID | None:
    """Return the id a cursor stands for; raise InvalidInputError for one we did not make."""
    return _read_cursor(value) if value else None


Cursor = Annotated[
    str | None, Query(max_length=64, description="`next_cursor` of the page before; leave out for the first.")
]


def iso(at: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC."""
    return at.isoformat().replace("+00:00", "Z") if at is not None else None
