"""The audit log over HTTP."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict

from api_hooks.auth import require
from api_hooks.fields import LIMIT_DEFAULT, Limit, Moment, Text
from api_hooks.responses import Envelope, Page
from core.database import unit_of_work
from core.errors import InvalidInputError
from queries import audit as queries
from services import audit
from services.auth import Identity
from services.permissions import Permission

router = APIRouter(prefix="/audit-log", tags=["audit"])

Auditor = Annotated[Identity, Depends(require(Permission.READ_AUDIT_LOG))]


class AuditEntryOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    origin: str | None
    details: dict[str, Any]


class AuditState(BaseModel):
    whole: bool
    first_broken_id: int | None


@router.get("", summary="Who did what, newest first")
def list_entries(
    _: Auditor,
    actor: Text | None = None,
    action: Annotated[Text | None, Query(description="An action, or its beginning (`user.`).")] = None,
    subject: Annotated[Text | None, Query(description="A subject, or its beginning (`journey:`).")] = None,
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to")] = None,
    cursor: Annotated[str | None, Query(max_length=32)] = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Envelope[Page[AuditEntryOut]]:
    """Answer entries: who, when, from where, what before and after. Secrets were never written into it."""
    with unit_of_work() as session:
        found = queries.list_entries(
            session,
            actor=actor,
            action=action,
            subject=subject,
            since=since,
            until=until,
            before=_read_cursor(cursor),
            limit=limit + 1,
        )
    items = [AuditEntryOut.model_validate(entry) for entry in found[:limit]]
    next_cursor = f"a{items[-1].id}" if len(found) > limit else None
    return Envelope(data=Page(items=items, next_cursor=next_cursor))


@router.get("/state", summary="Whether the log is whole")
def get_state(_: Auditor) -> Envelope[AuditState]:
    """Compute the chain of hashes again: a row that was changed or removed behind the product's back is named."""
    broken = audit.first_broken()
    return Envelope(data=AuditState(whole=broken is None, first_broken_id=broken))


def _read_cursor(value: str | None) -> int | None:
    if not value:
        return None
    number = value.removeprefix("a")
    if value == number or not number.isdecimal() or len(number) > 18:
        raise InvalidInputError("the cursor is not one that this list gave out", code="INVALID_CURSOR")
    return int(number)
