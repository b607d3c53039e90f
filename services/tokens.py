"""Access tokens: short-lived JWTs that say who somebody is and by which session; refresh tokens and cookies are opaque."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import jwt
from pydantic import SecretStr

from core.clock import utc_now
from core.crypto import derive_key
from core.errors import NotAuthenticatedError
from core.ids import new_id

ACCESS_SECONDS = 15 * 60
# Clocks of several machines differ by a little.
LEEWAY_SECONDS = 5
ISSUER = "anmei"
AUDIENCE = "anmei-api"
ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a token that holds says. What its user may do is looked up when it is used: it may have changed since."""

    user_id: UUID
    session_id: UUID


def issue_access_token(user_id: UUID, session_id: UUID, roles: list[str]) -> SecretStr:
    """Return a token that is good for ACCESS_SECONDS; the roles in it are for the client to look at only."""
    now = utc_now()
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "sid": str(session_id),
        "jti": str(new_id()),
        "roles": roles,
        "iat": now,
        "exp": now + timedelta(seconds=ACCESS_SECONDS),
    }
    return SecretStr(jwt.encode(claims, derive_key("jwt"), algorithm=ALGORITHM))


def read_access_token(token: SecretStr) -> AccessToken:
    """Return what the token says; raise NotAuthenticatedError where it does not hold (signature, issuer, time, form)."""
    try:
        claims = jwt.decode(
            token.get_secret_value(),
            derive_key("jwt"),
            # One algorithm only: a token must not choose how it is checked.
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "sub", "sid"]},
        )
        return AccessToken(user_id=UUID(claims["sub"]), session_id=UUID(claims["sid"]))
    except jwt.ExpiredSignatureError:
        raise NotAuthenticatedError("the access token has expired", code="TOKEN_EXPIRED") from None
    except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError):
        raise NotAuthenticatedError("the access token does not hold", code="TOKEN_INVALID") from None


def new_opaque_token() -> SecretStr:
    """Return 256 random bits, for refresh tokens and cookies; only their keyed hash is stored."""
    return SecretStr(secrets.token_urlsafe(32))
