"""Signing in through an OpenID Connect provider: whose account a subject stands for, and what its claims make them."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from clients import oidc as client
from clients.oidc import OidcRefusedError, OidcUnavailableError, Provider
from core import log_events
from core.crypto import UndecryptableError, decrypt, encrypt
from core.database import unit_of_work
from core.errors import ConflictError, NotAllowedError, NotFoundError
from core.logging import get_logger
from models import User
from queries import auth as queries
from services import auth, sign_in, tokens, users
from services.permissions import Role
from services.sealed import unseal
from services.sign_in import SignInSettings
from services.users import StaffChange

# How long somebody may take at the provider's pages.
PENDING_SECONDS = 600
ACTOR = "sign-in"
LONGEST_NAME = 200

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in under way: where the browser goes, and what it brings back in a cookie to prove that it began it."""

    url: str
    pending: SecretStr


def provider_name() -> str | None:
    """Return what the sign-in page names the provider, None where none is set."""
    settings = sign_in.current()
    return (settings.provider_name or "OpenID Connect") if settings.is_on else None


def begin(*, redirect_uri: str, target: str) -> Begun:
    """Begin a sign-in; raise NotFoundError where no provider is set, OidcUnavailableError."""
    settings = _settings()
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    url = client.authorization_url(
        _provider(settings), redirect_uri=redirect_uri, state=state, nonce=nonce, verifier=verifier
    )
    pending = {"state": state, "nonce": nonce, "verifier": verifier, "redirect_uri": redirect_uri, "target": target}
    pending["until"] = str(int(time.time()) + PENDING_SECONDS)
    return Begun(url, SecretStr(encrypt(SecretStr(json.dumps(pending))).decode()))


def complete(pending: SecretStr, answer: Mapping[str, str], *, origin: str) -> tuple[SecretStr, str]:
    """Finish a sign-in with what the provider sent the browser back with; return the session's cookie and where to go on.

    Raises OidcRefusedError, OidcUnavailableError, NotAllowedError (no role, switched off, no account), ConflictError (the
    name is another's, or nobody would be left to administer).
    """
    settings, begun = _settings(), _read(pending)
    if not secrets.compare_digest(answer.get("state", "").encode(), begun["state"].encode()):
        raise OidcRefusedError("the answer belongs to no sign-in that this browser began")
    # RFC 9207: who answers names itself, where it does.
    if answer.get("error") or not answer.get("code") or answer.get("iss", settings.issuer) != settings.issuer:
        raise OidcRefusedError("the provider refused the sign-in")
    claims = client.redeem(
        _provider(settings),
        code=answer["code"],
        redirect_uri=begun["redirect_uri"],
        verifier=begun["verifier"],
        nonce=begun["nonce"],
    )
    user = _account_of(claims, settings, origin=origin)
    return auth.open_ui_session_of(user, origin=origin, details={"issuer": settings.issuer}), begun["target"]


def roles_of(claims: Mapping[str, Any], settings: SignInSettings) -> list[Role]:
    """Return what the claims make somebody here; a claim that is no text or list of texts makes nobody anything."""
    found: Any = claims
    for part in settings.roles_claim.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    given = {one for one in listed if isinstance(one, str)}
    return [role for role, values in settings.values_of().items() if given.intersection(values)]


def _account_of(claims: Mapping[str, Any], settings: SignInSettings, *, origin: str) -> User:
    roles = roles_of(claims, settings)
    if not roles:
        log.warning(log_events.LOGIN_REFUSED, reason="no role", origin=origin)
        raise NotAllowedError("the provider gives this account no role here", code="OIDC_NO_ROLE")
    user = _find_or_make(claims, settings, roles, origin=origin)
    if not user.is_active:
        log.warning(log_events.LOGIN_REFUSED, reason="switched off", origin=origin)
        raise NotAllowedError("the account is switched off", code="ACCOUNT_DISABLED")
    if set(user.roles) != {role.value for role in roles}:
        user = users.change_staff_user(user.id, StaffChange(roles=roles), actor=ACTOR, origin=origin)
    return user


def _find_or_make(claims: Mapping[str, Any], settings: SignInSettings, roles: list[Role], *, origin: str) -> User:
    subject = claims["sub"]
    with unit_of_work() as session:
        linked = queries.find_oidc_user(session, settings.issuer, subject)
        if linked is not None:
            return linked
        name = claims.get(settings.username_claim)
        if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise NotAllowedError("the provider tells no usable name", code="OIDC_NO_NAME")
        namesake = queries.find_login(session, name)
    if namesake is not None and not settings.link_by_name:
        raise ConflictError("another account has this name", code="OIDC_NAME_TAKEN")
    if namesake is None and not settings.create_accounts:
        raise NotAllowedError("there is no account for this person", code="OIDC_NO_ACCOUNT")
    # A password nobody knows: the account is staff's like any other, and an administrator may give it one.
    user = namesake or users.create_staff_user(
        name, tokens.new_opaque_token(), roles, actor=ACTOR, display_name=_display_name(claims), origin=origin
    )
    return _link(settings.issuer, subject, user.id, origin=origin)


def _link(issuer: str, subject: str, user_id: UUID, *, origin: str) -> User:
    with unit_of_work() as session:
        # Of two first sign-ins at once one links; the other finds whom.
        queries.link_oidc_user(session, issuer, subject, user_id)
        linked = queries.find_oidc_user(session, issuer, subject)
        auth.note_link(session, user_id, issuer=issuer, origin=origin)
    if linked is None:
        raise NotFoundError("the account is gone", code="USER_NOT_FOUND")
    return linked


def _display_name(claims: Mapping[str, Any]) -> str | None:
    name = claims.get("name")
    return name[:LONGEST_NAME] if isinstance(name, str) and name.strip() and name.isprintable() else None


def _settings() -> SignInSettings:
    settings = sign_in.current()
    if not settings.is_on:
        raise NotFoundError("no provider is set")
    return settings


def _provider(settings: SignInSettings) -> Provider:
    try:
        secret = unseal(settings.client_secret)
    except UndecryptableError as error:
        log.error(log_events.LOGIN_REFUSED, reason="client secret undecryptable")
        raise OidcUnavailableError("the client's secret cannot be read", code=error.code) from None
    return Provider(settings.issuer, settings.client_id, secret, settings.scopes)


def _read(pending: SecretStr) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(decrypt(pending.get_secret_value().encode()).get_secret_value())
        if int(found["until"]) < time.time():
            raise OidcRefusedError("the sign-in took too long")
    except (UndecryptableError, ValueError, KeyError):
        raise OidcRefusedError("the answer belongs to no sign-in that this browser began") from None
    return found
