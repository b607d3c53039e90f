"""Welcome templates: written with a preview of what a customer would read, saved as a version of the settings."""

from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import Response
from pydantic import ValidationError

from admin.forms import whole
from admin.web import Visit, pages, redirect, signed_in, status_of
from core.errors import ConflictError, InvalidInputError
from services import automation, settings_admin
from services.gateway import templates
from services.permissions import Permission

router = pages("/templates")

Configurer = Annotated[Visit, Depends(signed_in(Permission.CONFIGURE))]
REASON_MAX = 200


@router.get("")
def show(visit: Configurer) -> Response:
    stored = settings_admin.in_force(automation.NAME)
    return _page(visit, stored.data["gateway"]["templates"]["by_locale"], stored.version)


@router.post("/preview")
def preview(visit: Configurer) -> Response:
    return _page(visit, _given(visit), whole(visit.form.line("version")) or 0)


@router.post("")
def save(visit: Configurer) -> Response:
    """Write the templates as a new version of the automation's settings."""
    stored, given = settings_admin.in_force(automation.NAME), _given(visit)
    expected = whole(visit.form.line("version")) or 0
    reason = visit.form.line("reason")[:REASON_MAX]
    values: dict[str, Any] = stored.data | {"gateway": stored.data["gateway"] | {"templates": {"by_locale": given}}}
    try:
        if not reason:
            raise InvalidInputError(visit.gettext("A reason is needed: who looks at this later must understand it."))
        automation.FAMILY.change(
            values, actor=visit.actor, reason=reason, expected_version=expected, origin=visit.origin
        )
    except ValidationError as error:
        problem = "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
        return _page(visit, given, expected, status=422, problem=problem)
    except (InvalidInputError, ConflictError) as error:
        return _page(visit, given, expected, status=status_of(error), problem=visit.explain(error))
    return redirect("/admin/templates", done="settings-saved")


def _given(visit: Visit) -> dict[str, str]:
    """Return the templates of the form by locale; emptied ones are left out."""
    form = visit.form
    pairs = zip(form.all("locale"), form.all("source"), strict=False)
    return {locale.strip(): source for locale, source in pairs if locale.strip() and source.strip()}


def _page(
    visit: Visit, by_locale: dict[str, str], version: int, *, status: int = 200, problem: str | None = None
) -> Response:
    form = visit.form
    sample = {name: form.line(f"sample_{name}") or value for name, value in templates.SAMPLE.items()}
    rows = [(locale, source, *_drawn(source, sample)) for locale, source in by_locale.items()]
    return visit.page(
        "templates.html",
        status=status,
        rows=rows,
        version=version,
        sample=sample,
        problem=problem,
        reason=form.line("reason"),
        most=templates.MAX_TEMPLATE_CHARACTERS,
    )


def _drawn(source: str, sample: dict[str, str]) -> tuple[str, str]:
    """Return what a customer would read, and what is wrong with the template."""
    try:
        templates.check(source)
        return templates.preview(source, sample), ""
    except InvalidInputError as error:
        return "", error.message
