"""An OpenID Connect provider as a client of it: discovery, the address to sign in at, and a code for checked claims.

Authorization code with PKCE (RFC 7636), as OpenID Connect Core 1.0 section 3.1 says. What is foreign ends here.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping
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

# Of a call as a whole, from the name's resolution to the last byte.
TIMEOUT_SECONDS = 5.0
MAX_REPLY_BYTES = 1024 * 1024
# How long a provider's description and keys are taken for current.
FRESH_SECONDS = 600.0
# A provider that did not describe itself is not asked again for this long: anybody may begin a sign-in.
FAILED_SECONDS = 5.0
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


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a provider did not describe itself, and when it was asked."""

    issuer: str
    reason: str
    asked_at: float


_known: dict[str, _Known] = {}
_failure: _Failure | None = None
_lock = threading.Lock()
# Held while a provider is asked to describe itself: one call serves everybody who waits for it.
_describing = threading.Lock()


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
    _remember(None, None)


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
    known = _remembered(issuer)
    if known is not None:
        return known
    if not _describing.acquire(timeout=TIMEOUT_SECONDS):
        raise OidcUnavailableError("the provider takes too long to describe itself")
    try:
        return _remembered(issuer) or _discover(issuer)
    finally:
        _describing.release()


def _remembered(issuer: str) -> _Known | None:
    """Return what is known and fresh; raise OidcUnavailableError where asking has just failed."""
    with _lock:
        known, failure = _known.get(issuer), _failure
    now = time.monotonic()
    if known is not None and now - known.asked_at < FRESH_SECONDS:
        return known
    if failure is not None and failure.issuer == issuer and now - failure.asked_at < FAILED_SECONDS:
        raise OidcUnavailableError(failure.reason)
    return None


def _discover(issuer: str) -> _Known:
    try:
        description = _ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if description.get("issuer") != issuer:
            raise OidcUnavailableError("the provider calls itself by another issuer")
    except OidcUnavailableError as error:
        _remember(None, _Failure(issuer, error.message, time.monotonic()))
        raise
    fresh = _Known(description, time.monotonic())
    _remember((issuer, fresh), None)
    return fresh


def _remember(known: tuple[str, _Known] | None, failure: _Failure | None) -> None:
    global _failure
    with _lock:
        # One provider at a time is configured: what was known of another is of no use any more.
        _known.clear()
        if known is not None:
            _known[known[0]] = known[1]
        _failure = failure


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
        status, body = _run(_exchange(method, url, form, auth, headers))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
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


async def _exchange(
    method: str, url: str, form: Mapping[str, str] | None, auth: tuple[str, str] | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    """Return status and body; raise TimeoutError where they are not there in time, however they trickle in."""
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
        client.stream(method, url, data=form, auth=auth, headers=headers) as reply,
    ):
        body = b""
        async for piece in reply.aiter_bytes():
            body += piece
            if len(body) > MAX_REPLY_BYTES:
                raise OidcUnavailableError("the provider's reply is larger than allowed")
        return reply.status_code, body


def _run(call: Coroutine[Any, Any, tuple[int, bytes]]) -> tuple[int, bytes]:
    """Run the call on a loop of this thread's own: only what is asynchronous can be cut off at any point."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(call)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        # Waits for nothing, unlike asyncio.run: a name that takes minutes to resolve holds nobody up.
        loop.close()
