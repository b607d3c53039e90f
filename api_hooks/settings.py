"""Settings over HTTP: versions with ETags, dry run, history and rollback."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api_hooks.auth import Origin, require
from api_hooks.fields import LIMIT_DEFAULT, Cursor, Input, JsonObject, Limit, RequiredText, cursor_of, read_cursor
from api_hooks.responses import Envelope, Page
from core.errors import InvalidInputError
from models import SettingsVersion
from services import confirmations, settings_admin
from services.auth import Identity
from services.permissions import Permission
from services.settings_admin import FAMILIES
from services.settings_family import Versioned

router = APIRouter(prefix="/settings", tags=["settings"])

Configurer = Annotated[Identity, Depends(require(Permission.CONFIGURE))]
Family = Annotated[
    str, Path(description="Which settings.", json_schema_extra={"enum": sorted(FAMILIES)}, max_length=100)
]
IfMatch = Annotated[
    str | None, Header(description="The ETag one read; 412 where somebody changed the settings since.", max_length=64)
]


class SettingsOut(BaseModel):
    version: int
    values: dict[str, Any]
    reason: str | None
    created_by: str
    created_at: datetime | None


class SettingsVersionOut(SettingsOut):
    model_config = ConfigDict(from_attributes=True)

    id: UUID


class ChangeOut(BaseModel):
    path: str
    before: Any
    after: Any


class SettingsChanged(BaseModel):
    """The version written (with a dry run: the one in force) and what differs from the one before."""

    version: int
    values: dict[str, Any]
    changes: list[ChangeOut]
    dry_run: bool = False


class SettingsIn(BaseModel):
    """All values, those left out at their defaults. What GET answers besides may come along; `version` acts as If-Match."""

    model_config = ConfigDict(extra="ignore")

    values: JsonObject
    reason: RequiredText | None = None
    version: Annotated[int, Field(ge=0)] | None = None


class ProcessOut(BaseModel):
    """One process that runs these settings."""

    model_config = ConfigDict(from_attributes=True)

    role: str = Field(description="api, worker, mcp or beat.")
    host: str
    pid: int
    version: int
    state: confirmations.State = Field(
        description="current; following: the change is younger than a second; behind; refused: it cannot read the newest "
        "version and runs the last it can; silent: connected, but not heard of."
    )
    since: datetime
    seen_seconds_ago: float


class ProcessesOut(BaseModel):
    """The newest version, how many processes run it, and each of them."""

    version: int
    current: int
    total: int
    items: list[ProcessOut]


class Rollback(Input):
    version: Annotated[int, Field(ge=0, le=2**31 - 1)]


@router.get("/{name}", summary="The settings in force")
def get_settings(name: Family, _: Configurer, response: Response) -> Envelope[SettingsOut]:
    """Answer the newest version, with its number as ETag. Version 0 are the built-in defaults."""
    stored = settings_admin.in_force(name)
    response.headers["ETag"] = etag(stored.version)
    return Envelope(data=_shown(stored))


@router.put("/{name}", summary="Change the settings")
def put_settings(
    name: Family,
    body: SettingsIn,
    who: Configurer,
    origin: Origin,
    response: Response,
    if_match: IfMatch = None,
    dry_run: Annotated[bool, Query(description="Only say what would change.")] = False,
) -> Envelope[SettingsChanged]:
    """Validate, write a new version, and have every process follow at once; 422 names each wrong field."""
    chosen = settings_admin.family(name)
    before = settings_admin.in_force(name)
    wanted = chosen.validated(body.values)
    if dry_run:
        return _changed(before, Versioned(before.version, wanted), dry_run=True)
    expected = read_etag(if_match) if if_match is not None else body.version
    written = chosen.change(body.values, actor=who.actor, reason=body.reason, expected_version=expected, origin=origin)
    response.headers["ETag"] = etag(written.version)
    return _changed(before, written)


@router.get("/{name}/history", summary="All versions, newest first")
def get_history(
    name: Family, _: Configurer, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
) -> Envelope[Page[SettingsVersionOut]]:
    """Answer who changed what, when and why."""
    found = settings_admin.history(name, before=read_cursor(cursor), limit=limit + 1)
    items = [SettingsVersionOut(id=row.id, **_shown(row).model_dump()) for row in found[:limit]]
    next_cursor = cursor_of(items[-1].id) if len(found) > limit else None
    return Envelope(data=Page(items=items, next_cursor=next_cursor))


@router.get("/{name}/processes", summary="Which process runs which version")
def get_processes(name: Family, _: Configurer) -> Envelope[ProcessesOut]:
    """Answer what each process says it runs: after a change all are `current` within a second."""
    found = confirmations.processes(name)
    items = [ProcessOut.model_validate(one) for one in found.listed]
    data = ProcessesOut(version=found.newest, current=found.current, total=len(items), items=items)
    return Envelope(data=data)


@router.post("/{name}/rollback", summary="Write an old version again")
def roll_back(
    name: Family, body: Rollback, who: Configurer, origin: Origin, response: Response, if_match: IfMatch = None
) -> Envelope[SettingsChanged]:
    """Make an old version the newest one; 404 for one that never was, 0 for the built-in defaults."""
    before = settings_admin.in_force(name)
    expected = read_etag(if_match) if if_match is not None else None
    written = settings_admin.family(name).roll_back(
        body.version, actor=who.actor, expected_version=expected, origin=origin
    )
    response.headers["ETag"] = etag(written.version)
    return _changed(before, written)


def _changed(before: SettingsVersion, written: Versioned[Any], *, dry_run: bool = False) -> Envelope[SettingsChanged]:
    changes = [
        ChangeOut(path=one.path, before=one.before, after=one.after)
        for one in settings_admin.differences(before.data, written.values)
    ]
    data = SettingsChanged(
        version=written.version, values=written.values.model_dump(mode="json"), changes=changes, dry_run=dry_run
    )
    return Envelope(data=data, message="nothing was written" if dry_run else f"version {written.version} is in force")


def _shown(stored: SettingsVersion) -> SettingsOut:
    return SettingsOut(
        version=stored.version,
        values=stored.data,
        reason=stored.reason,
        created_by=stored.created_by,
        created_at=stored.created_at,
    )


def etag(version: int) -> str:
    """Return the ETag of settings at this version."""
    return f'"{version}"'


def read_etag(given: str) -> int | None:
    """Return the version an ETag names; None for `*`, which any version matches (RFC 9110, 13.1.1)."""
    if given.strip() == "*":
        return None
    value = given.strip().removeprefix("W/").strip('"')
    if not value.isdecimal() or len(value) > 9:
        raise InvalidInputError("If-Match: the ETag of these settings")
    return int(value)
