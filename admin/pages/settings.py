"""Settings: a form made from their type, a dry run, the history with differences, and rollback."""

from itertools import pairwise
from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from admin import typed_form
from admin.forms import identifier, whole
from admin.web import Visit, pages, redirect, signed_in, status_of
from core.errors import ConflictError, InvalidInputError
from models import SettingsVersion
from services import automation, confirmations, settings_admin
from services.permissions import Permission
from services.settings_admin import ALL_FAMILIES

router = pages("/settings")

Configurer = Annotated[Visit, Depends(signed_in(Permission.CONFIGURE))]
SHOWN = 20
REASON_MAX = 200


@router.get("")
def first(visit: Configurer) -> Response:
    return redirect(f"/admin/settings/{automation.NAME}")


@router.get("/{name}")
def show(name: str, visit: Configurer) -> Response:
    stored = settings_admin.in_force(name, among=ALL_FAMILIES)
    return _page(visit, stored, stored.data, expected=stored.version)


@router.post("/{name}/check")
def check(name: str, visit: Configurer) -> Response:
    """Say what would change, and write nothing."""
    stored = settings_admin.in_force(name, among=ALL_FAMILIES)
    values = typed_form.read(_model(name), visit.form)
    try:
        wanted = settings_admin.family(name, among=ALL_FAMILIES).validated(values)
    except ValidationError as error:
        return _page(visit, stored, values, expected=_expected(visit), invalid=error)
    changes = settings_admin.differences(stored.data, wanted)
    return _page(visit, stored, values, expected=_expected(visit), changes=changes)


@router.post("/{name}")
def save(name: str, visit: Configurer) -> Response:
    """Write a new version, unless somebody wrote one since the page was opened or nothing differs."""
    family = settings_admin.family(name, among=ALL_FAMILIES)
    stored = settings_admin.in_force(name, among=ALL_FAMILIES)
    values, expected = typed_form.read(_model(name), visit.form), _expected(visit)
    reason = visit.form.line("reason")[:REASON_MAX]
    try:
        wanted = family.validated(values)
        if not reason:
            raise InvalidInputError(visit.gettext("A reason is needed: who looks at this later must understand it."))
        if not settings_admin.differences(stored.data, wanted):
            return redirect(f"/admin/settings/{name}", done="settings-same")
        family.change(values, actor=visit.actor, reason=reason, expected_version=expected, origin=visit.origin)
    except ValidationError as error:
        return _page(visit, stored, values, expected=expected, invalid=error)
    except (InvalidInputError, ConflictError) as error:
        problem = visit.explain(error)
        return _page(visit, stored, values, expected=expected, problem=problem, status=status_of(error))
    return redirect(f"/admin/settings/{name}", done="settings-saved")


@router.get("/{name}/processes/live")
def processes(name: str, visit: Configurer) -> Response:
    """Draw which process runs which version, for a page that is left open."""
    return visit.live("settings_processes.html", processes=confirmations.processes(name))


@router.get("/{name}/history")
def history(name: str, visit: Configurer) -> Response:
    before = identifier(visit.query.get("before"))
    found = settings_admin.history(name, before=before, limit=SHOWN + 1, among=ALL_FAMILIES)
    # One more than shown, so that the last one shown can be compared too; the first version with the defaults.
    older = [*found, settings_admin.version(name, 0, among=ALL_FAMILIES)] if len(found) <= SHOWN else found
    rows = [(one, settings_admin.raw_differences(previous.data, one.data)) for one, previous in pairwise(older)]
    return visit.page(
        "settings_history.html",
        name=name,
        rows=rows[:SHOWN],
        current=settings_admin.in_force(name, among=ALL_FAMILIES).version,
        next_before=found[SHOWN - 1].id if len(found) > SHOWN else None,
        families=list(ALL_FAMILIES),
        at_start=before is None,
    )


@router.get("/{name}/rollback/{version}")
def ask_rollback(name: str, version: int, visit: Configurer) -> Response:
    """Show what going back to a version would change."""
    stored = settings_admin.in_force(name, among=ALL_FAMILIES)
    try:
        old = settings_admin.version(name, version, among=ALL_FAMILIES)
    except ValidationError:
        raise ConflictError(visit.gettext("This version does not fit today's settings.")) from None
    changes = settings_admin.raw_differences(stored.data, old.data)
    return visit.page("settings_rollback.html", name=name, stored=stored, old=old, changes=changes)


@router.post("/{name}/rollback/{version}")
def roll_back(name: str, version: int, visit: Configurer) -> Response:
    family = settings_admin.family(name, among=ALL_FAMILIES)
    family.roll_back(version, actor=visit.actor, expected_version=_expected(visit), origin=visit.origin)
    return redirect(f"/admin/settings/{name}", done="settings-rolled-back")


def _page(
    visit: Visit,
    stored: SettingsVersion,
    values: dict[str, Any],
    *,
    expected: int | None,
    invalid: ValidationError | None = None,
    problem: str | None = None,
    changes: list[settings_admin.Change] | None = None,
    status: int = 200,
) -> Response:
    form = typed_form.build(_model(stored.name), values, visit.language)
    messages = typed_form.place_errors(form, invalid, visit.language) if invalid is not None else []
    return visit.page(
        "settings.html",
        status=422 if invalid is not None else status,
        name=stored.name,
        stored=stored,
        expected=stored.version if expected is None else expected,
        form=form,
        messages=messages,
        problem=problem,
        changes=changes,
        reason=visit.form.line("reason"),
        families=list(ALL_FAMILIES),
        processes=confirmations.processes(stored.name),
    )


def _model(name: str) -> type[BaseModel]:
    return type(settings_admin.family(name, among=ALL_FAMILIES).validated({}))


def _expected(visit: Visit) -> int | None:
    return whole(visit.form.line("version"))
