"""The provider: /authorize asks nobody, /token checks client, code and PKCE, tokens are signed with a real key."""

import base64
import hashlib
import json
import secrets
import time
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

TOKEN_SECONDS = 300
# What the provider may do wrong, once it is told to by PUT /__sim__/fault.
FAULTS = ("issuer", "audience", "nonce", "expired", "foreign_key", "unsigned", "subject", "refuse", "broken")


class Provider:
    """Its key, who is before the browser, codes given out, and what it is to do wrong."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        self.client_id, self.client_secret = client_id, client_secret
        self.person: dict[str, Any] = {"sub": "person-1", "preferred_username": "mei", "groups": ["staff"]}
        self.userinfo: dict[str, Any] = {}
        self.fault = ""
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[dict[str, str]] = []
        self.key = self._new_key()

    def rotate(self) -> None:
        self.key = self._new_key()

    def id_token(self, issuer: str, asked: dict[str, str], access_token: str) -> str:
        """Return the token a sign-in is answered with, wrong in the way the fault says."""
        now = int(time.time())
        claims = self.person | {
            "iss": "https://elsewhere.example" if self.fault == "issuer" else issuer,
            "aud": "another-client" if self.fault == "audience" else self.client_id,
            "iat": now,
            "exp": now - 3600 if self.fault == "expired" else now + TOKEN_SECONDS,
            "nonce": "another" if self.fault == "nonce" else asked["nonce"],
            "at_hash": _half_hash(access_token),
        }
        if self.fault == "unsigned":
            parts = ({"alg": "none"}, claims)
            return ".".join(_b64(_json(one)) for one in parts) + "."
        key = self._new_key(self.key.kid) if self.fault == "foreign_key" else self.key
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    @staticmethod
    def _new_key(kid: str | None = None) -> RSAKey:
        return RSAKey.generate_key(2048, {"kid": kid or secrets.token_hex(4), "use": "sig", "alg": "RS256"})


def build(*, client_id: str, client_secret: str) -> Starlette:
    """Return the provider as an application."""
    provider = Provider(client_id, client_secret)

    def describe(request: Request) -> Response:
        base = _base(request)
        return JSONResponse(
            {
                "issuer": base,
                "authorization_endpoint": f"{base}/authorize",
                "token_endpoint": f"{base}/token",
                "userinfo_endpoint": f"{base}/userinfo",
                "jwks_uri": f"{base}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
            }
        )

    def keys(_: Request) -> Response:
        return JSONResponse({"keys": [provider.key.as_dict(private=False)]})

    def authorize(request: Request) -> Response:
        asked = dict(request.query_params)
        provider.asked.append(asked)
        wrong = asked.get("client_id") != provider.client_id or asked.get("code_challenge_method") != "S256"
        if wrong or "openid" not in asked.get("scope", "").split() or not asked.get("nonce"):
            return JSONResponse({"error": "invalid_request"}, 400)
        if provider.fault == "refuse":
            answer = {"error": "access_denied", "state": asked["state"]}
        else:
            code = secrets.token_urlsafe(24)
            provider.codes[code] = asked
            answer = {"code": code, "state": asked["state"], "iss": _base(request)}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)

    async def token(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        asked = provider.codes.pop(form.get("code", ""), None)
        if not _is_client(request, provider, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if _b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest()) != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if provider.fault == "broken":
            return Response("<html>out of order</html>", 503)
        access_token = secrets.token_urlsafe(24)
        answer = {"access_token": access_token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}
        return JSONResponse(answer | {"id_token": provider.id_token(_base(request), asked, access_token)})

    def userinfo(_: Request) -> Response:
        subject = "somebody-else" if provider.fault == "subject" else provider.person["sub"]
        return JSONResponse({"sub": subject} | provider.userinfo)

    async def control(request: Request) -> Response:
        """Set what the body names: person, userinfo, fault; `rotate` makes a new key; `client_secret` changes ours."""
        body = await request.json()
        if body.pop("rotate", False):
            provider.rotate()
        for name, value in body.items():
            if name not in ("person", "userinfo", "fault", "client_secret") or (
                name == "fault" and value not in ("", *FAULTS)
            ):
                return JSONResponse({"error": f"unknown: {name}"}, 422)
            setattr(provider, name, value)
        return JSONResponse({"asked": provider.asked})

    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", describe),
            Route("/jwks", keys),
            Route("/authorize", authorize),
            Route("/token", token, methods=["POST"]),
            Route("/userinfo", userinfo),
            Route("/__sim__", control, methods=["PUT"]),
        ]
    )


def _is_client(request: Request, provider: Provider, form: dict[str, str]) -> bool:
    if not provider.client_secret:
        return form.get("client_id") == provider.client_id
    expected = base64.b64encode(f"{provider.client_id}:{provider.client_secret}".encode()).decode()
    return request.headers.get("authorization") == f"Basic {expected}"


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _half_hash(token: str) -> str:
    return _b64(hashlib.sha256(token.encode()).digest()[:16])


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
