"""Consultants: who is there, what each is matched by, when they work, and how they are reached."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.responses import Response
from pydantic import BaseModel, Field, SecretStr, StringConstraints, ValidationError

from admin import typed_form
from admin.forms import choice, storable
from admin.web import Visit, pages, redirect, signed_in, status_of
from core.clock import utc_now
from core.errors import AnmeiError, NotFoundError
from models import PushKind
from services import automation, consultants, ladder, presence, push_channels, shifts
from services.consultants import Profile
from services.permissions import Permission
from services.push_channels import ChannelChange
from services.working_hours import WorkingHours

router = pages("/consultants")

Watcher = Annotated[Visit, Depends(signed_in(Permission.WATCH_CONSULTANTS))]
Manager = Annotated[Visit, Depends(signed_in(Permission.MANAGE_USERS))]
URL_MAX = 2000
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
Skill = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ProfileForm(BaseModel):
    """A profile as a form: own hours are a tick, and their fields count only with it."""

    languages: Annotated[tuple[Language, ...], Field(max_length=20)] = ()
    skills: Annotated[tuple[Skill, ...], Field(max_length=50)] = ()
    is_supervisor: bool = False
    own_hours: bool = False
    working_hours: WorkingHours = WorkingHours()


@router.get("")
def listed(visit: Watcher) -> Response:
    return visit.page("consultants.html", **_situation())


@router.get("/live")
def live(visit: Watcher) -> Response:
    return visit.live("consultants_live.html", **_situation())


@router.get("/{consultant_id}")
def show(consultant_id: UUID, visit: Manager) -> Response:
    return _page(visit, consultant_id, _shown(consultants.profile(consultant_id)))


@router.post("/{consultant_id}")
def change(consultant_id: UUID, visit: Manager) -> Response:
    """Replace what the consultant is matched by; it holds at once."""
    values = typed_form.read(ProfileForm, visit.form)
    checked = values if values["own_hours"] else {**values, "working_hours": {}}
    try:
        form = ProfileForm.model_validate(checked)
    except ValidationError as error:
        return _page(visit, consultant_id, values, invalid=error)
    hours = form.working_hours if form.own_hours else None
    wanted = Profile(form.languages, form.skills, hours, form.is_supervisor)
    consultants.change_profile(consultant_id, wanted, actor=visit.actor)
    return redirect(f"/admin/consultants/{consultant_id}", done="consultant-changed")


@router.post("/{consultant_id}/channels")
def add_channel(consultant_id: UUID, visit: Manager) -> Response:
    """Add a channel for the consultant; a browser subscribes itself, in its consultant's inbox."""
    kind = choice(PushKind, visit.form.line("kind")) or PushKind.HTTP
    url = SecretStr(visit.form.line("url")[:URL_MAX])
    try:
        push_channels.add(consultant_id, kind, url, name=storable(visit.form.text("name")), actor=visit.actor)
    except AnmeiError as error:
        return _refused(visit, consultant_id, error)
    return redirect(f"/admin/consultants/{consultant_id}", done="channel-added")


@router.post("/{consultant_id}/channels/{channel_id}/{deed}")
def change_channel(consultant_id: UUID, channel_id: UUID, deed: str, visit: Manager) -> Response:
    """Test a channel, switch it on or off, or remove it."""
    done = "channel-changed"
    match deed:
        case "test":
            trial = push_channels.try_out(consultant_id, channel_id)
            if not trial.sent:
                return _page(visit, consultant_id, problem=trial.error, status=422)
            done = "channel-tested"
        case "on" | "off":
            wanted = ChannelChange(enabled=deed == "on")
            push_channels.change(consultant_id, channel_id, wanted, actor=visit.actor)
        case "remove":
            push_channels.remove(consultant_id, channel_id, actor=visit.actor)
        case _:
            raise NotFoundError("nothing here")
    return redirect(f"/admin/consultants/{consultant_id}", done=done)


def _situation() -> dict[str, Any]:
    """Return who is there, who is on shift, and whether the ladder stands still."""
    settings, now = automation.current(), utc_now()
    stands_still = settings.escalation.enabled and ladder.seconds_until_open(now, settings) > 0
    return {
        "rows": presence.listed(),
        "on_shift": set(shifts.on_shift(now)),
        "goes_on_at": settings.notification.working_hours.next_open(now) if stands_still else None,
    }


def _refused(visit: Visit, consultant_id: UUID, error: AnmeiError) -> Response:
    if status_of(error) == 500:
        raise error
    return _page(visit, consultant_id, problem=visit.explain(error), status=status_of(error))


def _page(
    visit: Visit,
    consultant_id: UUID,
    values: dict[str, Any] | None = None,
    *,
    invalid: ValidationError | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    one = next((one for one in presence.listed() if one.consultant_id == consultant_id), None)
    if one is None:
        raise NotFoundError("no such consultant", code="CONSULTANT_NOT_FOUND")
    shown = _shown(consultants.profile(consultant_id)) if values is None else values
    form = typed_form.build(ProfileForm, shown, visit.language)
    messages = typed_form.place_errors(form, invalid, visit.language) if invalid is not None else []
    return visit.page(
        "consultant.html",
        status=422 if invalid is not None else status,
        one=one,
        form=form,
        messages=messages,
        problem=problem,
        channels=push_channels.listed(consultant_id),
        kinds=[PushKind.HTTP, PushKind.APPRISE],
    )


def _shown(profile: Profile) -> dict[str, Any]:
    hours = profile.working_hours or automation.current().notification.working_hours
    return {
        "languages": list(profile.languages),
        "skills": list(profile.skills),
        "is_supervisor": profile.is_supervisor,
        "own_hours": profile.working_hours is not None,
        "working_hours": hours.model_dump(mode="json"),
    }
