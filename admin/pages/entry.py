"""Signing in and out, the own password, the language, static files, and the way home."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import SecretStr

from admin import drawing, i18n
from admin.web import (
    COOKIE_PATH,
    LANGUAGE_COOKIE,
    LOGIN,
    NAVIGATION,
    SESSION_COOKIE,
    VISITOR_COOKIE,
    Visit,
    anyone,
    own_path,
    pages,
    redirect,
    set_cookie,
    signed_in,
    status_of,
)
from core.errors import AnmeiError, InvalidInputError, NotAllowedError, NotFoundError, TransientError
from services import auth, oidc, sign_in, users
from services.users import StaffChange

router = pages()

Guest = Annotated[Visit, Depends(anyone)]
Member = Annotated[Visit, Depends(signed_in(None))]
# A sign-in at the provider, while it is under way.
OIDC_COOKIE = "anmei_oidc"
YEAR_SECONDS = 365 * 24 * 3600
LONGEST = 200


@router.get("")
def home(visit: Member) -> Response:
    """Go on to the first page one may see."""
    first = next((one.path for one in NAVIGATION if visit.may(one.permission)), None)
    if first is None:
        raise NotAllowedError("no page for these roles")
    return redirect(first)


@router.get("/login")
def login_form(visit: Guest) -> Response:
    return _login_page(visit)


@router.post("/login")
def login(visit: Guest) -> Response:
    """Sign in and go on to where one wanted to go."""
    username = visit.form.line("username")[:LONGEST]
    try:
        cookie = auth.open_ui_session(username, SecretStr(visit.form.text("password")[:LONGEST]), origin=visit.origin)
    except AnmeiError as error:
        if status_of(error) == 500:
            raise
        return _login_page(visit, status=status_of(error), username=username, problem=visit.explain(error))
    response = redirect(own_path(visit.form.text("next")))
    # The browser forgets it when it is closed; the server ends it after twelve idle hours.
    set_cookie(visit.request, response, SESSION_COOKIE, cookie.get_secret_value())
    return response


@router.get("/login/oidc")
def begin_oidc(visit: Guest) -> Response:
    """Send the browser to the provider to sign in there."""
    target = own_path(visit.request.query_params.get("next"))
    try:
        begun = oidc.begin(redirect_uri=_callback_url(visit.request), target=target)
    except TransientError as error:
        return _login_page(visit, status=503, problem=visit.explain(error))
    response = RedirectResponse(begun.url, 303, headers={"Cache-Control": "no-store"})
    set_cookie(visit.request, response, OIDC_COOKIE, begun.pending.get_secret_value(), max_age=oidc.PENDING_SECONDS)
    return response


@router.get("/login/oidc/callback")
def complete_oidc(visit: Guest) -> Response:
    """Take the provider's answer, sign in and go on to where one wanted to go."""
    pending = SecretStr(visit.request.cookies.get(OIDC_COOKIE, ""))
    try:
        cookie, target = oidc.complete(pending, visit.query, origin=visit.origin)
    except AnmeiError as error:
        if status_of(error) == 500:
            raise
        response = _login_page(visit, status=status_of(error), problem=visit.explain(error))
    else:
        response = redirect(own_path(target))
        set_cookie(visit.request, response, SESSION_COOKIE, cookie.get_secret_value())
    # Good for one answer only.
    response.delete_cookie(OIDC_COOKIE, path=COOKIE_PATH)
    return response


@router.post("/logout")
def logout(visit: Member) -> Response:
    auth.logout(visit.who, origin=visit.origin)
    response = redirect(LOGIN, done="signed-out")
    response.delete_cookie(SESSION_COOKIE, path=COOKIE_PATH)
    return response


@router.get("/account")
def account(visit: Member) -> Response:
    return visit.page("account.html", problem=None)


@router.post("/account/password")
def change_password(visit: Member) -> Response:
    """Change the own password; every session of the account ends with it."""
    form = visit.form
    try:
        auth.check_password(visit.who.username, SecretStr(form.text("old")[:LONGEST]), origin=visit.origin)
        if form.text("new") != form.text("again"):
            raise InvalidInputError(visit.gettext("The two new passwords differ."))
        change = StaffChange(password=SecretStr(form.text("new")[:LONGEST]))
        users.change_staff_user(visit.who.user_id, change, actor=visit.actor, origin=visit.origin)
    except AnmeiError as error:
        if status_of(error) == 500:
            raise
        return visit.page("account.html", status=status_of(error), problem=visit.explain(error))
    return redirect(LOGIN, done="password-changed")


@router.get("/language/{code}")
def choose_language(code: str, request: Request) -> Response:
    """Remember the language in this browser. Changes nothing on the server."""
    response = redirect(own_path(request.query_params.get("next")))
    if code in i18n.languages():
        set_cookie(request, response, LANGUAGE_COOKIE, code, max_age=YEAR_SECONDS)
    return response


@router.get("/static/{name}")
def static_file(name: str, request: Request) -> Response:
    found = drawing.static_files().get(name)
    if found is None:
        raise NotFoundError("no such file")
    named = request.query_params.get("v") == found.version
    cached = "public, max-age=31536000, immutable" if named else "no-cache"
    return Response(found.body, media_type=found.media_type, headers={"Cache-Control": cached})


def _callback_url(request: Request) -> str:
    base = sign_in.current().base_url or f"{request.url.scheme}://{request.url.netloc}"
    return f"{base}{LOGIN}/oidc/callback"


def _login_page(visit: Visit, *, status: int = 200, username: str = "", problem: str | None = None) -> Response:
    target = own_path(visit.form.text("next") or visit.request.query_params.get("next"))
    response = visit.page(
        "login.html",
        status=status,
        username=username,
        problem=problem,
        target=target,
        provider=oidc.provider_name(),
    )
    set_cookie(visit.request, response, VISITOR_COOKIE, visit.request.state.visitor_cookie)
    return response
