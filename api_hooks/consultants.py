"""Consultants and whether they are there."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from api_hooks.auth import require
from api_hooks.fields import Input
from api_hooks.responses import Envelope
from core.errors import NotAllowedError
from services import consultants, presence
from services.auth import Identity
from services.permissions import Permission

Locale = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}$", max_length=35)]

router = APIRouter(prefix="/consultants", tags=["consultants"])


class PresenceOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    consultant_id: UUID
    display_name: str
    status: Literal["online", "away", "offline"]
    devices: int
    away_since: datetime | None


class PresenceChange(Input):
    status: Literal["online", "away"]


class LocaleChange(Input):
    locale: Locale


@router.get("", summary="Consultants and their presence")
def list_consultants(
    _: Annotated[Identity, Depends(require(Permission.WATCH_CONSULTANTS))],
) -> Envelope[list[PresenceOut]]:
    """Answer every enabled consultant: online with live sockets in any process, away by their own word, or offline."""
    return Envelope(data=[PresenceOut.model_validate(one) for one in presence.listed()])


@router.put("/me/presence", summary="Say that one is away, or back")
def set_presence(
    body: PresenceChange, who: Annotated[Identity, Depends(require(Permission.CLAIM_CUSTOMERS))]
) -> Envelope[None]:
    """Who is away keeps their sockets but is not counted on for new customers."""
    if who.consultant_id is None:
        raise NotAllowedError("the account is no consultant's")
    presence.set_away(who.consultant_id, away=body.status == "away")
    return Envelope(data=None)


@router.put("/me/locale", summary="Say in which language one is told things")
def set_locale(
    body: LocaleChange, who: Annotated[Identity, Depends(require(Permission.CLAIM_CUSTOMERS))]
) -> Envelope[None]:
    """Pushes are in this language at once; a socket is when it is opened next, or in the one its `?locale=` says."""
    consultants.set_locale(who.user_id, body.locale)
    return Envelope(data=None)
