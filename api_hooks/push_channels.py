"""Push channels and profiles over HTTP: a consultant's own, everybody's for administrators. Addresses never come out."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from api_hooks.auth import require
from api_hooks.fields import Input, RequiredText
from api_hooks.responses import Envelope
from core.errors import NotAllowedError
from models import PushKind
from services import consultants, delivery, push_channels, push_keys
from services.auth import Identity
from services.consultants import Profile
from services.permissions import Permission
from services.push_channels import ChannelChange
from services.working_hours import WorkingHours

router = APIRouter(prefix="/consultants", tags=["consultants"])

Manager = Annotated[Identity, Depends(require(Permission.MANAGE_USERS))]


class Me(BaseModel):
    """The consultant who is calling."""

    consultant_id: UUID
    actor: str


def _me(who: Annotated[Identity, Depends(require(Permission.CLAIM_CUSTOMERS))]) -> Me:
    if who.consultant_id is None:
        raise NotAllowedError("the account is no consultant's")
    return Me(consultant_id=who.consultant_id, actor=who.actor)


Consultant = Annotated[Me, Depends(_me)]


class SubscriptionKeys(Input):
    p256dh: Annotated[str, Field(min_length=80, max_length=100)]
    auth: Annotated[str, Field(min_length=16, max_length=40)]


class Subscription(BaseModel):
    """What a browser's `PushSubscription.toJSON()` gives; its expiry is not needed."""

    endpoint: Annotated[SecretStr, Field(min_length=1, max_length=2000)]
    keys: SubscriptionKeys


class NewChannel(Input):
    """`url` of an http or apprise channel, or the `subscription` of a browser."""

    kind: PushKind
    name: RequiredText | None = None
    url: Annotated[SecretStr, Field(min_length=1, max_length=2000)] | None = None
    subscription: Subscription | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "NewChannel":
        if (self.kind is PushKind.WEBPUSH) != (self.subscription is not None) or (self.url is None) == (
            self.subscription is None
        ):
            raise ValueError("webpush takes a subscription, http and apprise take a url")
        return self

    def address(self) -> SecretStr:
        """Return the URL, or the subscription as it is stored."""
        if self.subscription is None:
            return self.url or SecretStr("")
        stored = {
            "endpoint": self.subscription.endpoint.get_secret_value(),
            "keys": self.subscription.keys.model_dump(),
        }
        return SecretStr(orjson.dumps(stored).decode())


class ChannelPatch(Input):
    name: RequiredText | None = None
    enabled: bool | None = None
    position: Annotated[int, Field(ge=0, le=1000)] | None = None


class ChannelOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str
    name: str | None
    position: int
    enabled: bool
    disabled_reason: str | None
    last_success_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    created_at: datetime


class TrialOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    sent: bool
    error_code: str | None
    error: str | None


Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class ProfileIn(Input):
    """What customers are matched by: ISO 639 codes, interests in the signup service's words; hours of null are the settings'."""

    model_config = ConfigDict(from_attributes=True)

    languages: Annotated[list[Language], Field(max_length=20, default_factory=list)]
    skills: Annotated[list[RequiredText], Field(max_length=50, default_factory=list)]
    working_hours: WorkingHours | None = None
    is_supervisor: bool = False


class PublicKeyOut(BaseModel):
    public_key: str


class ReceiptIn(Input):
    status: Literal["received", "seen"] = "received"


@router.get("/me/webpush-key", summary="The key a browser subscribes with")
def webpush_key(_: Consultant) -> Envelope[PublicKeyOut]:
    """Answer the `applicationServerKey` of this installation; it never changes."""
    return Envelope(data=PublicKeyOut(public_key=push_keys.public_key()))


@router.post("/me/notifications/{notification_id}/receipt", summary="Confirm a push")
def confirm(notification_id: UUID, me: Consultant, body: ReceiptIn | None = None) -> Envelope[None]:
    """Note that a device received a push, or showed it; the push carries its `notification_id`."""
    delivery.confirm(notification_id, me.consultant_id, seen=(body or ReceiptIn()).status == "seen")
    return Envelope(data=None)


@router.get("/me/channels", summary="One's own push channels")
def list_own(me: Consultant) -> Envelope[list[ChannelOut]]:
    """Answer them in the order they are tried, with their last success and last error."""
    return Envelope(data=_listed(me.consultant_id))


@router.post("/me/channels", status_code=201, summary="Add a push channel of one's own")
def add_own(body: NewChannel, me: Consultant) -> Envelope[ChannelOut]:
    """Add a channel; the same address again switches its channel on again."""
    return Envelope(data=_added(me.consultant_id, body, me.actor), message="added")


@router.patch("/me/channels/{channel_id}", summary="Change a push channel of one's own")
def change_own(channel_id: UUID, body: ChannelPatch, me: Consultant) -> Envelope[ChannelOut]:
    """Rename, reorder, switch on or off."""
    return Envelope(data=_changed(me.consultant_id, channel_id, body, me.actor), message="changed")


@router.delete("/me/channels/{channel_id}", summary="Delete a push channel of one's own")
def remove_own(channel_id: UUID, me: Consultant) -> Envelope[None]:
    """Delete the channel."""
    push_channels.remove(me.consultant_id, channel_id, actor=me.actor)
    return Envelope(data=None, message="deleted")


@router.post("/me/channels/{channel_id}/test", summary="Send oneself a test push")
def try_own(channel_id: UUID, me: Consultant) -> Envelope[TrialOut]:
    """Answer whether the channel took a push, and why not."""
    return Envelope(data=TrialOut.model_validate(push_channels.try_out(me.consultant_id, channel_id)))


@router.get("/me/profile", summary="What one is matched by")
def get_own_profile(me: Consultant) -> Envelope[ProfileIn]:
    """Answer one's own languages, skills and hours."""
    return Envelope(data=ProfileIn.model_validate(consultants.profile(me.consultant_id)))


@router.get("/{consultant_id}/profile", summary="What a consultant is matched by")
def get_profile(consultant_id: UUID, _: Manager) -> Envelope[ProfileIn]:
    """Answer languages, skills, hours, and whether they supervise."""
    return Envelope(data=ProfileIn.model_validate(consultants.profile(consultant_id)))


@router.put("/{consultant_id}/profile", summary="Change what a consultant is matched by")
def change_profile(consultant_id: UUID, body: ProfileIn, who: Manager) -> Envelope[ProfileIn]:
    """Replace the profile; it holds at once."""
    wanted = Profile(body.languages, body.skills, body.working_hours, body.is_supervisor)
    return Envelope(
        data=ProfileIn.model_validate(consultants.change_profile(consultant_id, wanted, actor=who.actor)),
        message="changed",
    )


@router.get("/{consultant_id}/channels", summary="A consultant's push channels")
def list_theirs(consultant_id: UUID, _: Manager) -> Envelope[list[ChannelOut]]:
    """Answer a consultant's channels for an administrator."""
    return Envelope(data=_listed(consultant_id))


@router.post("/{consultant_id}/channels", status_code=201, summary="Add a push channel for a consultant")
def add_theirs(consultant_id: UUID, body: NewChannel, who: Manager) -> Envelope[ChannelOut]:
    """Add a channel for a consultant."""
    return Envelope(data=_added(consultant_id, body, who.actor), message="added")


@router.patch("/{consultant_id}/channels/{channel_id}", summary="Change a consultant's push channel")
def change_theirs(consultant_id: UUID, channel_id: UUID, body: ChannelPatch, who: Manager) -> Envelope[ChannelOut]:
    """Rename, reorder, switch on or off."""
    return Envelope(data=_changed(consultant_id, channel_id, body, who.actor), message="changed")


@router.delete("/{consultant_id}/channels/{channel_id}", summary="Delete a consultant's push channel")
def remove_theirs(consultant_id: UUID, channel_id: UUID, who: Manager) -> Envelope[None]:
    """Delete the channel."""
    push_channels.remove(consultant_id, channel_id, actor=who.actor)
    return Envelope(data=None, message="deleted")


@router.post("/{consultant_id}/channels/{channel_id}/test", summary="Send a consultant a test push")
def try_theirs(consultant_id: UUID, channel_id: UUID, _: Manager) -> Envelope[TrialOut]:
    """Answer whether the channel took a push, and why not."""
    return Envelope(data=TrialOut.model_validate(push_channels.try_out(consultant_id, channel_id)))


def _listed(consultant_id: UUID) -> list[ChannelOut]:
    return [ChannelOut.model_validate(one) for one in push_channels.listed(consultant_id)]


def _added(consultant_id: UUID, body: NewChannel, actor: str) -> ChannelOut:
    added = push_channels.add(consultant_id, body.kind, body.address(), name=body.name, actor=actor)
    return ChannelOut.model_validate(added)


def _changed(consultant_id: UUID, channel_id: UUID, body: ChannelPatch, actor: str) -> ChannelOut:
    wanted = ChannelChange(body.name, body.enabled, body.position)
    return ChannelOut.model_validate(push_channels.change(consultant_id, channel_id, wanted, actor=actor))
