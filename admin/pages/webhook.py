"""The webhook's secrets: which are valid, a new one in rotation, and why a signature does not hold."""

from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import Response

from admin.i18n import N_
from admin.web import Visit, pages, signed_in
from core.clock import utc_now
from core.errors import InvalidInputError
from services import signature_check, webhook_secrets
from services.permissions import Permission
from services.signature_check import Part, Result

router = pages("/webhook")

Keeper = Annotated[Visit, Depends(signed_in(Permission.MANAGE_SECRETS))]
HOURS_DEFAULT, HOURS_MAX = 24, 24 * 30

PARTS = {
    Part.HEADERS: N_("Headers"),
    Part.ID: N_("webhook-id"),
    Part.TIMESTAMP: N_("webhook-timestamp"),
    Part.FORMAT: N_("Form of webhook-signature"),
    Part.SIGNATURE: N_("Signature"),
}
RESULTS = {
    Result.OK: N_("holds"),
    Result.MISSING: N_("missing: %(detail)s"),
    Result.TOO_LONG: N_("too long: %(detail)s characters"),
    Result.NOT_A_NUMBER: N_("not a number of seconds since 1970: %(detail)s"),
    Result.TOO_OLD: N_("%(detail)s seconds old; five minutes are allowed. A clock may be wrong, or it was sent late."),
    Result.IN_THE_FUTURE: N_("%(detail)s seconds in the future; five minutes are allowed. A clock is wrong."),
    Result.NO_V1: N_("holds no signature that begins with “v1,”"),
    Result.NOT_BASE64: N_("what follows “v1,” is not base64"),
    Result.NO_SECRET: N_("no secret was ever made"),
    Result.MISMATCH: N_(
        "does not match under any secret: another secret was used, or id, timestamp or body differ from what was signed"
    ),
    Result.OTHER_BODY: N_(
        "matches the secret of %(detail)s only with other line ends: sign the body's very bytes, before anything reformats it"
    ),
    Result.EXPIRED_SECRET: N_("matches the secret of %(detail)s, which is not valid any more"),
}


@router.get("")
def show(visit: Keeper) -> Response:
    return _page(visit)


@router.post("/rotate")
def rotate(visit: Keeper) -> Response:
    """Make a new secret and show it, this once."""
    try:
        hours = float(visit.form.line("old_valid_hours") or HOURS_DEFAULT)
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= HOURS_MAX:
        raise InvalidInputError(visit.gettext("The old secrets may stay valid for 0 to 720 hours."))
    _, secret = webhook_secrets.rotate(old_valid_hours=hours, actor=visit.actor, origin=visit.origin)
    return _page(visit, secret=secret.get_secret_value())


@router.post("/test")
def test_signature(visit: Keeper) -> Response:
    """Say of pasted headers and body which part does not match. Nothing is stored."""
    form = visit.form
    lines = (line.partition(":") for line in form.text("headers").split("\n"))
    headers = {name: value for name, _, value in lines if name.strip()}
    findings = signature_check.explain(form.text("body"), headers)
    return _page(visit, findings=findings, headers=form.text("headers"), body=form.text("body"))


def _page(visit: Visit, **context: Any) -> Response:
    now = utc_now()
    rows = [(one, webhook_secrets.is_valid(one, now)) for one in webhook_secrets.listed()]
    shown = {"secret": None, "findings": None, "headers": "", "body": ""} | context
    return visit.page("webhook.html", rows=rows, hours=HOURS_DEFAULT, parts=PARTS, results=RESULTS, **shown)
