"""Alerts and where they go, over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field, SecretStr

from api_hooks.auth import Origin, require
from api_hooks.fields import Input, RequiredText
from api_hooks.responses import Envelope, Page
from services import alert_channels, masking
from services.alert_channels import ShownChannel
from services.auth import Identity
from services.permissions import Permission

router = APIRouter(tags=["alerts"])

Keeper = Annotated[Identity, Depends(require(Permission.MANAGE_ALERTS))]
Watcher = Annotated[Identity, Depends(require(Permission.WATCH_FIGURES))]


class AlertOut(BaseModel):
    id: UUID
    key: str
    severity: str
    title: str
    body: str
    occurrences: int
    first_at: datetime
    last_at: datetime
    last_sent_at: datetime | None
    status: str = Field(description="pending: not sent yet, or more of it came since; sent")
    error_code: str | None = Field(description="Why it could not be sent the last time; it is tried again.")
    error_text: str | None


class ChannelIn(Input):
    name: RequiredText
    url: Annotated[
        SecretStr, Field(min_length=1, max_length=2000, description="Any URL Apprise speaks, such as wecombot://…")
    ]


class ChannelChange(Input):
    enabled: bool


class ChannelOut(BaseModel):
    id: UUID
    name: str
    service: str
    enabled: bool
    last_success_at: datetime | None
    last_error: str | None


@router.get("/alerts", summary="What administrators were, or could not be, told of")
def list_alerts(_: Watcher, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Envelope[Page[AlertOut]]:
    """Answer the alerts that were last raised, the newest first."""
    found = alert_channels.recent_alerts(limit=limit)
    items = [AlertOut.model_validate(one, from_attributes=True) for one in found]
    for one in items:
        # The first line quotes an error, and an error may quote anything; the others are ours.
        error, newline, ours = one.body.partition("\n")
        one.body = masking.prose(error) + newline + ours
    return Envelope(data=Page(items=items))


@router.get("/alert-channels", summary="Where alerts go")
def list_channels(_: Keeper) -> Envelope[Page[ChannelOut]]:
    """Answer the channels without their URLs, which may hold tokens."""
    return Envelope(data=Page(items=[_shown(one) for one in alert_channels.listed()]))


@router.post("/alert-channels", status_code=201, summary="Add a channel")
def add_channel(who: Keeper, origin: Origin, body: ChannelIn) -> Envelope[ChannelOut]:
    """Keep a channel; its URL is encrypted and not shown again. Alerts that waited for one go out at once."""
    return Envelope(data=_shown(alert_channels.add(body.name, body.url, actor=who.actor, origin=origin)))


@router.patch("/alert-channels/{channel_id}", summary="Switch a channel on or off")
def change_channel(who: Keeper, origin: Origin, channel_id: UUID, body: ChannelChange) -> Envelope[ChannelOut]:
    """Alerts go to the channels that are on; one that takes an alert is enough."""
    return Envelope(data=_shown(alert_channels.set_enabled(channel_id, body.enabled, actor=who.actor, origin=origin)))


@router.post("/alert-channels/{channel_id}/test", summary="Send a test alert now")
def try_channel(_: Keeper, channel_id: UUID) -> Envelope[ChannelOut]:
    """Answer 503 when the channel did not take it."""
    return Envelope(data=_shown(alert_channels.try_out(channel_id)), message="the channel took the test alert")


@router.delete("/alert-channels/{channel_id}", summary="Remove a channel")
def remove_channel(who: Keeper, origin: Origin, channel_id: UUID) -> Envelope[None]:
    """Forget the channel and its URL."""
    alert_channels.remove(channel_id, actor=who.actor, origin=origin)
    return Envelope(data=None, message="removed")


def _shown(channel: ShownChannel) -> ChannelOut:
    return ChannelOut.model_validate(channel, from_attributes=True)
