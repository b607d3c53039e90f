"""Versioned settings as an administrator sees them: the version in force, its history, and what a change would change."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ValidationError

from core.database import unit_of_work
from core.errors import NotFoundError
from models import SettingsVersion
from queries import settings as queries
from services import automation, mcp_settings, push_settings, sign_in
from services.settings_family import SettingsFamily

# Families with routes of their own are not among them.
FAMILIES: dict[str, SettingsFamily[Any]] = {
    automation.NAME: automation.FAMILY,
    sign_in.NAME: sign_in.FAMILY,
    push_settings.NAME: push_settings.FAMILY,
}
# All there are, as the administration's pages show them.
ALL_FAMILIES: dict[str, SettingsFamily[Any]] = FAMILIES | {mcp_settings.NAME: mcp_settings.FAMILY}


class Change(NamedTuple):
    """One value that differs: where, and from what to what; None where there is nothing."""

    path: str
    before: Any
    after: Any


def family(name: str, *, among: Mapping[str, SettingsFamily[Any]] = FAMILIES) -> SettingsFamily[Any]:
    """Return the family of this name; raise NotFoundError."""
    if name not in among:
        raise NotFoundError(f"there are no settings named {name}", code="SETTINGS_NOT_FOUND")
    return among[name]


def in_force(name: str, *, among: Mapping[str, SettingsFamily[Any]] = FAMILIES) -> SettingsVersion:
    """Return the version in force; version 0, written by nobody, are the built-in defaults.

    Of a newest version that today's types cannot read, the values are those that run in its place: what is saved next
    replaces it.
    """
    chosen = family(name, among=among)
    with unit_of_work() as session:
        stored = queries.find_current(session, name)
    # Read through today's types, so that a field added since shows its default.
    if stored is not None:
        try:
            values = chosen.validated(stored.data)
        except ValidationError:
            values = chosen.stored().values
        stored.data = values.model_dump(mode="json")
        return stored
    return SettingsVersion(
        name=name, version=0, data=chosen.validated({}).model_dump(mode="json"), created_by="built in"
    )


def version(name: str, number: int, *, among: Mapping[str, SettingsFamily[Any]] = FAMILIES) -> SettingsVersion:
    """Return an old version as today's types read it, 0 for the built-in defaults; raise NotFoundError.

    Raises pydantic.ValidationError for one that does not fit today's types.
    """
    chosen = family(name, among=among)
    if number == 0:
        return SettingsVersion(name=name, version=0, data=chosen.validated({}).model_dump(mode="json"))
    with unit_of_work() as session:
        stored = queries.get_version(session, name, number)
    stored.data = chosen.validated(stored.data).model_dump(mode="json")
    return stored


def history(
    name: str,
    *,
    before: UUID | None,
    limit: int,
    among: Mapping[str, SettingsFamily[Any]] = FAMILIES,
) -> list[SettingsVersion]:
    """Return versions, newest first; `before` is the id of the last one of the page before."""
    family(name, among=among)
    with unit_of_work() as session:
        return queries.list_versions(session, name, before=before, limit=limit)


def differences(before: Mapping[str, Any], after: BaseModel) -> list[Change]:
    """Return every value in which the two differ, by dotted path."""
    return raw_differences(before, after.model_dump(mode="json"))


def raw_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return every value in which two stored versions differ, by dotted path."""
    return list(_walk("", before, after))


def _walk(path: str, before: Any, after: Any) -> list[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for key in sorted({*before, *after}):
            inner = f"{path}.{key}" if path else key
            found += _walk(inner, before.get(key), after.get(key))
        return found
    return [] if before == after else [Change(path, before, after)]
