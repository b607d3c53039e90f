"""An OpenID Connect provider as a client of it: discovery, the address to sign in at, and a code for checked claims.

Authorization code with PKCE (RFC 7636), as OpenID Connect Core 1.0 section 3.1 says. What is foreign ends here.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import orjson
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import SecretStr

from clients.oidc_address import is_allowed_address
from core.errors import NotAuthenticatedError, TransientError

TIMEOUT_SECONDS = 5.0
MAX_REPLY_BYTES = 1024 * 1024
# How long a provider's description and keys are taken for current.
FRESH_SECONDS = 600.0
# A token under an unknown key makes the keys be asked for anew, but not more often than this: anybody may send tokens.
KEYS_AGAIN_SECONDS = 10.0
LEEWAY_SECONDS = 30
# Asymmetric ones only: with a shared secret, whoever can check a token could make one.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class OidcUnavailableError(TransientError):
    """The provider cannot be reached, or what it answers is not what the specification says."""

    code = "OIDC_UNAVAILABLE"


class OidcRefusedError(NotAuthenticatedError):
    """The provider refused the code, or its token does not hold."""

    code = "OIDC_REFUSED"


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider and who we are to it. Without a secret we are a public client, which PKCE suffices for."""

    issuer: str
    client_id: str
    client_secret: SecretStr | None
    scopes: tuple[str, ...]


@dataclass(slots=True)
class _Known:
    """What a provider says of itself, and when it was asked."""

    description: dict[str, Any]
    asked_at: float
    keys: KeySet | None = None
    keys_at: float = field(default=float("-inf"))


_known: dict[str, _Known] = {}
_lock = threading.Lock()


def authorization_url(provider: Provider, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
    """Return where the browser signs in; raise OidcUnavailableError."""
    endpoint = _endpoint(_describe(provider.issuer).description, "authorization_endpoint")
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(dict.fromkeys(("openid", *provider.scopes))),
        "state": state,
        "nonce": nonce,
        "code_challenge": create_s256_code_challenge(verifier),
        "code_challenge_method": "S256",
    }
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"


def redeem(provider: Provider, *, code: str, redirect_uri: str, verifier: str, nonce: str) -> dict[str, Any]:
    """Return the claims of who signed in, the token checked in every part; claims only `userinfo` has are among them.

    Raises OidcRefusedError, OidcUnavailableError.
    """
    known = _describe(provider.issuer)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "client_id": provider.client_id,
        "code_verifier": verifier,
    }
    auth = None
    if provider.client_secret is not None:
        supported = known.description.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if "client_secret_basic" in supported:
            auth = (provider.client_id, provider.client_secret.get_secret_value())
        else:
            form["client_secret"] = provider.client_secret.get_secret_value()
    answer = _ask("POST", _endpoint(known.description, "token_endpoint"), form=form, auth=auth)
    token, access_token = answer.get("id_token"), answer.get("access_token")
    if not isinstance(token, str):
        raise OidcUnavailableError("the provider answered no ID token")
    claims = _checked(provider, known, token, nonce=nonce, access_token=access_token)
    return _with_userinfo(known, claims, access_token)


def forget() -> None:
    """Drop what is known of providers; the next use asks again."""
    _known.clear()


def _checked(provider: Provider, known: _Known, token: str, *, nonce: str, access_token: Any) -> dict[str, Any]:
    """Check signature, issuer, audience, times, nonce and access token's hash (Core, 3.1.3.7)."""
    try:
        decoded = _decoded(known, token)
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": provider.issuer},
                "aud": {"essential": True, "value": provider.client_id},
            },
            {"nonce": nonce, "client_id": provider.client_id, "access_token": access_token},
        )
        claims.validate(leeway=LEEWAY_SECONDS)
    except (JoseError, ValueError, TypeError) as error:
        raise OidcRefusedError(f"the provider's token does not hold: {type(error).__name__}") from None
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise OidcRefusedError("the provider's token names nobody")
    return dict(claims)


def _decoded(known: _Known, token: str) -> jwt.Token:
    try:
        return jwt.decode(token, _keys(known, again=False), algorithms=ALGORITHMS)
    except (JoseError, ValueError):
        # Signed under a key that is newer than what we know, or not at all well.
        return jwt.decode(token, _keys(known, again=True), algorithms=ALGORITHMS)


def _with_userinfo(known: _Known, claims: dict[str, Any], access_token: Any) -> dict[str, Any]:
    """Add what only the userinfo endpoint tells; its subject must be the token's (Core, 5.3.2)."""
    endpoint = known.description.get("userinfo_endpoint")
    if not endpoint or not isinstance(access_token, str):
        return claims
    told = _ask("GET", _endpoint(known.description, "userinfo_endpoint"), bearer=access_token)
    if told.get("sub") != claims["sub"]:
        raise OidcRefusedError("the provider's userinfo is about somebody else")
    return told | claims


def _describe(issuer: str) -> _Known:
    with _lock:
        known = _known.get(issuer)
    if known is not None and time.monotonic() - known.asked_at < FRESH_SECONDS:
        return known
    description = _ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if description.get("issuer") != issuer:
        raise OidcUnavailableError("the provider calls itself by another issuer")
    fresh = _Known(description, time.monotonic())
    with _lock:
        # One provider at a time is configured: what was known of another is of no use any more.
        _known.clear()
        _known[issuer] = fresh
    return fresh


def _keys(known: _Known, *, again: bool) -> KeySet:
    limit = KEYS_AGAIN_SECONDS if again else FRESH_SECONDS
    if known.keys is None or time.monotonic() - known.keys_at >= limit:
        answer = _ask("GET", _endpoint(known.description, "jwks_uri"))
        try:
            known.keys = KeySet.import_key_set(answer)  # type: ignore[arg-type] # refused below, whatever it is
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise OidcUnavailableError(f"the provider's keys cannot be read: {type(error).__name__}") from None
        known.keys_at = time.monotonic()
    return known.keys


def _endpoint(description: Mapping[str, Any], name: str) -> str:
    url = description.get(name)
    if not isinstance(url, str) or not is_allowed_address(url):
        raise OidcUnavailableError(f"the provider names no usable {name}")
    return url


def _ask(
    method: str,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    bearer: str | None = None,
) -> dict[str, Any]:
    """Make one call and return its JSON object. No redirects: a code or secret goes to the named address only."""
    headers = {"accept": "application/json"} | ({"authorization": f"Bearer {bearer}"} if bearer else {})
    try:
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream(method, url, data=form, auth=auth, headers=headers) as reply,
        ):
            body = b""
            for piece in reply.iter_bytes():
                body += piece
                if len(body) > MAX_REPLY_BYTES:
                    raise OidcUnavailableError("the provider's reply is larger than allowed")
            status = reply.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OidcUnavailableError(f"the provider cannot be reached: {type(error).__name__}") from None
    if status in (400, 401) and form is not None:
        raise OidcRefusedError("the provider refused the sign-in")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if status != 200 or not isinstance(value, dict):
        raise OidcUnavailableError(f"the provider answered {status}")
    return value
