"""Sign-in over HTTP, and the dependencies by which every other route asks who is calling."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, SecretStr

from api_hooks.fields import Input, Password, RequiredText
from api_hooks.responses import Envelope
from core.errors import NotAllowedError, NotAuthenticatedError
from services import auth
from services.auth import Identity, Tokens
from services.permissions import Permission, Role

router = APIRouter(prefix="/auth", tags=["auth"])

# Only describes the scheme in the documentation; `current_user` decides, so that refusals are problems like all others.
_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="`access_token` of POST /api/v1/auth/login")


def origin_of(request: Request) -> str:
    """Return the address the request came from, as the server saw it."""
    return request.client.host if request.client else "unknown"


def current_user(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Identity:
    """Return who is calling, as of now; raise NotAuthenticatedError."""
    if credentials is None:
        raise NotAuthenticatedError("this needs `Authorization: Bearer <access_token>`", code="TOKEN_MISSING")
    return auth.identify(SecretStr(credentials.credentials))


CurrentUser = Annotated[Identity, Depends(current_user)]
Origin = Annotated[str, Depends(origin_of)]


def require_role(*roles: Role) -> Callable[[Identity], Identity]:
    """Return a dependency that lets these roles in and gives the route who it is."""

    def required(user: CurrentUser) -> Identity:
        if user.roles.isdisjoint(roles):
            raise NotAllowedError(f"this needs one of the roles {', '.join(sorted(roles))}")
        return user

    return required


def require(permission: Permission) -> Callable[[Identity], Identity]:
    """Return a dependency that lets in who has the permission (services.permissions) and gives the route who it is."""

    def required(user: CurrentUser) -> Identity:
        user.require(permission)
        return user

    return required


class Login(Input):
    username: RequiredText
    password: Password


class Refresh(Input):
    refresh_token: Password


class CustomerTokenRequest(Input):
    user_id: RequiredText


class TokensOut(BaseModel):
    access_token: str
    expires_in: int
    refresh_token: str


class TokensEnvelope(Envelope[TokensOut], TokensOut):
    """The tokens in the envelope's `data` as everywhere, and beside it, where clients written for OAuth look for them."""


@router.post("/login", summary="Sign in with name and password")
def login(body: Login, origin: Origin) -> TokensEnvelope:
    """Answer an access token good for `expires_in` seconds and a refresh token good for one use.

    Too many failures lock the name or the address out for a while: 429 with `Retry-After`.
    """
    return _enveloped(auth.login(body.username, body.password, origin=origin), "signed in")


@router.post("/refresh", summary="Exchange a refresh token for new tokens")
def refresh(body: Refresh) -> TokensEnvelope:
    """Answer new tokens. A refresh token presented a second time ends its session, for whoever holds its tokens."""
    return _enveloped(auth.refresh(body.refresh_token), "refreshed")


@router.post("/logout", summary="End this session")
def logout(user: CurrentUser, origin: Origin) -> Envelope[None]:
    """End the session at once: its tokens stop, its sockets are closed."""
    auth.logout(user, origin=origin)
    return Envelope(data=None, message="signed out")


@router.post("/customer-token", summary="Sign a customer in on the signup service's behalf")
def customer_token(
    body: CustomerTokenRequest,
    user: Annotated[Identity, Depends(require(Permission.MINT_CUSTOMER_TOKENS))],
    origin: Origin,
) -> TokensEnvelope:
    """Answer tokens with a customer's rights for a registered `user_id` (the signup service's, or ours)."""
    return _enveloped(auth.open_customer_session(body.user_id, minted_by=user, origin=origin), "signed in")


def _enveloped(granted: Tokens, message: str) -> TokensEnvelope:
    shown = _shown(granted)
    return TokensEnvelope(data=shown, message=message, **shown.model_dump())


def _shown(granted: Tokens) -> TokensOut:
    return TokensOut(
        access_token=granted.access_token.get_secret_value(),
        expires_in=granted.expires_in,
        refresh_token=granted.refresh_token.get_secret_value(),
    )
