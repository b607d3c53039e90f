"""Signing in through an OpenID Connect provider: whose account a subject stands for, and what its claims make them."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from clients import oidc as client
from clients.oidc import OidcRefusedError, OidcUnavailableError, Provider
from core import log_events
from core.crypto import UndecryptableError, decrypt, encrypt
from core.database import unit_of_work
from core.errors import ConflictError, NotAllowedError, NotFoundError
from core.logging import get_logger
from core.passwords import hash_password
from models import User
from queries import auth as queries
from services import audit, auth, sign_in, tokens, users
from services.permissions import Role
from services.sealed import unseal
from services.sign_in import SignInSettings
from services.users import StaffChange

# How long somebody may take at the provider's pages.
PENDING_SECONDS = 600
ACTOR = "sign-in"
LONGEST_NAME = 200
# The second finds what another made meanwhile.
FIRST_SIGN_IN_TRIES = 2

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in under way: where the browser goes, and what it brings back in a cookie to prove that it began it."""

    url: str
    pending: SecretStr


@dataclass(frozen=True, slots=True)
class _Newcomer:
    """Somebody the provider vouches for and whom nobody here knows yet."""

    subject: str
    name: str
    display_name: str | None
    roles: list[Role]


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
    name is another's, or nobody would be left to administer), RateLimitedError for too many from one address.
    """
    settings, begun = _settings(), _read(pending)
    if not secrets.compare_digest(answer.get("state", "").encode(), begun["state"].encode()):
        raise OidcRefusedError("the answer belongs to no sign-in that this browser began")
    # RFC 9207: who answers names itself, where it does.
    if answer.get("error") or not answer.get("code") or answer.get("iss", settings.issuer) != settings.issuer:
        raise OidcRefusedError("the provider refused the sign-in")
    # Before the provider is asked, and only for who began a sign-in: links put before others lock nobody's office out.
    auth.count_provider_sign_in(origin=origin)
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
    with unit_of_work() as session:
        linked = queries.find_oidc_user(session, settings.issuer, claims["sub"])
    if linked is not None:
        return linked
    newcomer = _Newcomer(claims["sub"], _name_of(claims, settings), _display_name(claims), roles)
    # A password nobody knows: the account is staff's like any other, and an administrator may give it one. It is hashed
    # here as that takes its time, which no transaction should.
    password_hash = hash_password(tokens.new_opaque_token())
    for _ in range(FIRST_SIGN_IN_TRIES):
        try:
            with unit_of_work() as session:
                return _first_sign_in(session, newcomer, settings, password_hash, origin=origin)
        except IntegrityError:
            # Of two at once one has made the account or the link; the other looks again and finds it.
            continue
    raise _name_taken()


def _first_sign_in(
    session: Session, newcomer: _Newcomer, settings: SignInSettings, password_hash: str, *, origin: str
) -> User:
    """Make or take over the account and link the subject to it, both or neither; raise IntegrityError if another was first."""
    namesake = queries.lock_login(session, newcomer.name)
    linked = queries.find_oidc_user(session, settings.issuer, newcomer.subject)
    if linked is not None:
        return linked
    if namesake is not None:
        # Whom another subject stands for is somebody else, who had the name at the provider before.
        if not settings.link_by_name or queries.has_oidc_identity(session, settings.issuer, namesake.id):
            raise _name_taken()
    elif not settings.create_accounts:
        raise NotAllowedError("there is no account for this person", code="OIDC_NO_ACCOUNT")
    user = namesake or users.add_staff_user(
        session,
        newcomer.name,
        password_hash,
        newcomer.roles,
        actor=ACTOR,
        display_name=newcomer.display_name,
        origin=origin,
    )
    queries.link_oidc_user(session, settings.issuer, newcomer.subject, user.id)
    auth.note_link(session, user.id, issuer=settings.issuer, origin=origin)
    return user


def _name_of(claims: Mapping[str, Any], settings: SignInSettings) -> str:
    """Return the name that the claims give somebody here; raise NotAllowedError where it is none or not theirs."""
    told = claims.get(settings.username_claim)
    name = told.strip() if isinstance(told, str) else ""
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or audit.is_reserved(name):
        raise NotAllowedError("the provider tells no usable name", code="OIDC_NO_NAME")
    # An address that was only typed in may be anybody's (Core, 5.1).
    if settings.username_claim == "email" and claims.get("email_verified") is not True:
        raise NotAllowedError("the provider did not verify the address", code="OIDC_NO_NAME")
    return name


def _name_taken() -> ConflictError:
    return ConflictError("another account has this name", code="OIDC_NAME_TAKEN")


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
