"""What every page shares: who looks at it, the guard before each change, and how it is drawn."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from admin import drawing, i18n, words
from admin.forms import Form, read_form
from core.crypto import derive_key
from core.errors import (
    AnmeiError,
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
    RateLimitedError,
    TransientError,
)
from services import auth
from services.auth import Identity
from services.permissions import Permission

HOME = "/admin"
LOGIN = "/admin/login"
INBOX = "/inbox"
# Of cookies: the pages lie in two places.
COOKIE_PATH = "/"
SESSION_COOKIE = "anmei_session"
# Held by browsers that are not signed in, so that the sign-in form has a token too.
VISITOR_COOKIE = "anmei_visitor"
LANGUAGE_COOKIE = "anmei_lang"
TOKEN_FIELD = "csrf_token"  # noqa: S105 - a field's name
# Of the addresses that pages poll by themselves.
LIVE_ENDING = "/live"
# Where the inbox's scripts get their tokens: whenever one is over, a connection is lost or a push arrives.
TOKEN_PATH = f"{INBOX}/token"
# In such an address's query: a person has just done something on the page.
ACTED = "acted"
SAFE_METHODS = frozenset({"GET", "HEAD"})
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; img-src 'self' data:"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
STATUS_OF: tuple[tuple[type[AnmeiError], int], ...] = (
    (InvalidInputError, 422),
    (NotAuthenticatedError, 401),
    (NotAllowedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (RateLimitedError, 429),
    (TransientError, 503),
)


@dataclass(frozen=True)
class NavItem:
    path: str
    label: str
    permission: Permission


NAVIGATION = (
    # First, as it is where consultants go when they have signed in.
    NavItem(INBOX, i18n.N_("Inbox"), Permission.CLAIM_CUSTOMERS),
    NavItem("/admin/dashboard", i18n.N_("Dashboard"), Permission.WATCH_FIGURES),
    NavItem("/admin/journeys", i18n.N_("Journeys"), Permission.WATCH_JOURNEYS),
    NavItem("/admin/dead-letters", i18n.N_("Dead letters"), Permission.WATCH_JOURNEYS),
    NavItem("/admin/settings", i18n.N_("Settings"), Permission.CONFIGURE),
    NavItem("/admin/templates", i18n.N_("Templates"), Permission.CONFIGURE),
    NavItem("/admin/agents", i18n.N_("Agents"), Permission.MANAGE_AGENTS),
    NavItem("/admin/mcp", i18n.N_("MCP"), Permission.MANAGE_MCP),
    NavItem("/admin/consultants", i18n.N_("Consultants"), Permission.WATCH_CONSULTANTS),
    NavItem("/admin/webhook", i18n.N_("Webhook"), Permission.MANAGE_SECRETS),
    NavItem("/admin/users", i18n.N_("Users"), Permission.MANAGE_USERS),
    NavItem("/admin/audit", i18n.N_("Audit log"), Permission.READ_AUDIT_LOG),
)


class Visit:
    """One request of one browser: who it is (None before signing in), in which language, with what form."""

    def __init__(self, request: Request, identity: Identity | None, cookie: str) -> None:
        self.request = request
        self.identity = identity
        self.token = token_for(cookie)
        self.language = i18n.chosen(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))

    @property
    def actor(self) -> str:
        """Name them in the audit log; raise NotAuthenticatedError where nobody is signed in."""
        return self.who.actor

    @property
    def who(self) -> Identity:
        if self.identity is None:
            raise NotAuthenticatedError("sign in first")
        return self.identity

    @property
    def origin(self) -> str:
        return self.request.client.host if self.request.client else "unknown"

    @property
    def form(self) -> Form:
        form: Form = getattr(self.request.state, "form", None) or Form()
        return form

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query_params)

    def may(self, permission: Permission) -> bool:
        return self.identity is not None and self.identity.may(permission)

    def gettext(self, text: str) -> str:
        return self.language.gettext(text)

    def explain(self, error: AnmeiError) -> str:
        """Return a refusal in the reader's language, or in the service's own words."""
        return self.gettext(words.ERRORS[error.code]) if error.code in words.ERRORS else error.message

    def page(self, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
        """Draw a page for this visit."""
        return HTMLResponse(self.draw(template, **context), status, headers={"Cache-Control": "no-store"})

    def live(self, template: str, **context: Any) -> Response:
        """Draw a part of a page that is polled; 304 where the browser has it as it is."""
        body = self.draw(template, **context).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if self.request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(body, headers=headers)

    def draw(self, template: str, **context: Any) -> str:
        notice = words.NOTICES.get(self.request.query_params.get("done", ""))
        navigation = [one for one in NAVIGATION if self.may(one.permission)]
        return drawing.draw(
            self.language,
            template,
            {"visit": self, "notice": notice, "navigation": navigation, "path": self.request.url.path} | context,
        )


class PageRoute(APIRoute):
    """A route of pages: its errors are pages, and no request that changes something passes unguarded."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                if request.method not in SAFE_METHODS:
                    await _take_form(request)
                response = await handle(request)
            except AnmeiError as error:
                response = await run_in_threadpool(_answer, request, error)
            except RequestValidationError:
                # Only the path is validated by the framework: an id that is none names nothing.
                response = await run_in_threadpool(_answer, request, NotFoundError("nothing here"))
            response.headers.update(HEADERS)
            return response

        return guarded


def pages(prefix: str = "") -> APIRouter:
    """Return a router for pages; they are no part of the API's description."""
    return APIRouter(prefix=f"{HOME}{prefix}", route_class=PageRoute, include_in_schema=False)


def signed_in(permission: Permission | None) -> Callable[[Request], Visit]:
    """Return a dependency that lets in who has the permission (None: whoever is signed in) and gives the page its visit."""

    def visit(request: Request) -> Visit:
        cookie = request.cookies.get(SESSION_COOKIE, "")
        if not cookie:
            raise NotAuthenticatedError("sign in first")
        identity = auth.identify_browser(SecretStr(cookie), in_use=not _is_polled(request))
        found = Visit(request, identity, cookie)
        request.state.visit = found
        if permission is not None:
            found.who.require(permission)
        return found

    return visit


def anyone(request: Request) -> Visit:
    """Return the visit of somebody who need not be signed in; the browser gets a cookie for its forms' token."""
    cookie = request.cookies.get(VISITOR_COOKIE) or secrets.token_urlsafe(32)
    found = Visit(request, None, cookie)
    request.state.visit = found
    request.state.visitor_cookie = cookie
    return found


def redirect(path: str, *, done: str | None = None, **query: object) -> RedirectResponse:
    """Send the browser on after a change; `done` names what the next page says of it."""
    values = {name: str(value) for name, value in query.items() if value} | ({"done": done} if done else {})
    return RedirectResponse(
        f"{path}?{urlencode(values)}" if values else path, 303, headers={"Cache-Control": "no-store"}
    )


def own_path(value: str | None) -> str:
    """Return a path of these pages to go on to; anything else leads home."""
    parts = urlsplit(value or "")
    plain = not parts.scheme and not parts.netloc and "\\" not in (value or "") and (value or "").isprintable()
    ours = any(parts.path == place or parts.path.startswith(place + "/") for place in (HOME, INBOX))
    return value if value and plain and ours else HOME


def token_for(cookie: str) -> str:
    """Return the token that the forms of the browser holding this cookie carry."""
    digest = hmac.new(derive_key("ui csrf token"), cookie.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def set_cookie(request: Request, response: Response, name: str, value: str, *, max_age: int | None = None) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        path=COOKIE_PATH,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def status_of(error: AnmeiError) -> int:
    if error.code == "VERSION_CONFLICT":
        return 412
    return next((status for kind, status in STATUS_OF if isinstance(error, kind)), 500)


async def _take_form(request: Request) -> None:
    """Refuse what another site sent or what carries no token of this browser; keep the form for the page."""
    site = request.headers.get("sec-fetch-site")
    if site not in (None, "same-origin", "none") or not _same_origin(request.headers):
        raise NotAllowedError("the request came from another site", code="CROSS_SITE")
    form = read_form(await request.body(), request.headers.get("content-type", ""))
    given = form.text(TOKEN_FIELD)
    # A browser may hold both cookies; the sign-in form was drawn for the visitor's.
    held = [request.cookies.get(name) for name in (SESSION_COOKIE, VISITOR_COOKIE)]
    if not any(cookie and hmac.compare_digest(token_for(cookie).encode(), given.encode()) for cookie in held):
        raise NotAllowedError("the form's token does not hold", code="CSRF_TOKEN")
    request.state.form = form


def _is_polled(request: Request) -> bool:
    """Tell whether the page's script asks by itself, not for a person who has just done something."""
    return _is_of_script(request) and ACTED not in request.query_params


def _is_of_script(request: Request) -> bool:
    """Tell whether a page's script asks: parts of pages that keep themselves up to date, and the inbox's tokens."""
    return request.url.path.endswith(LIVE_ENDING) or request.url.path == TOKEN_PATH


def _same_origin(headers: Mapping[str, str]) -> bool:
    """Tell whether the Origin header, where there is one, names the host that was asked."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _answer(request: Request, error: AnmeiError) -> Response:
    status = status_of(error)
    if status == 500:
        # Not the reader's fault, and its text may name what only we should know; the edge logs it with its trace.
        raise error
    if isinstance(error, NotAuthenticatedError) and request.method in SAFE_METHODS:
        if _is_of_script(request):
            return Response(status_code=401)
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{LOGIN}?next={quote(target)}", 303, headers={"Cache-Control": "no-store"})
    visit: Visit = getattr(request.state, "visit", None) or Visit(request, None, "")
    response = visit.page(
        "error.html",
        status=status,
        title=words.TITLES.get(status, words.TITLES[400]),
        message=visit.explain(error),
        code=error.code,
    )
    if isinstance(error, RateLimitedError):
        response.headers["Retry-After"] = str(max(1, error.retry_after_seconds))
    return response
