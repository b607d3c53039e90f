"""What a new installation needs before its first registration, and what a local stack needs besides. All safe to repeat."""

from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy.orm import Session

from core.clock import utc_now
from core.crypto import decrypt, encrypt
from core.database import unit_of_work
from core.ids import new_id
from core.passwords import hash_password, new_password, password_fits
from models import Agent, Consultant, PushChannel, User, WebhookSecret
from queries import seed as seed_queries
from queries.auth import find_login
from queries.settings import list_valid_webhook_secrets
from services import push_settings, webhook_signature

ADMIN = "admin"
SEEDED_BY = "seed"
WELCOME_AGENT = "welcome"
# Marks the agent row that a local stack may point at its simulator; one an administrator made has another app.
SIMULATED_APP = "simulator"
DEMO_CONSULTANTS = {"lin": "林顾问", "chen": "陈顾问", "zhao": "赵顾问"}
DEMO_PUSH_KIND = "http"


@dataclass(frozen=True)
class Seed:
    """What is there now. The password only when the administrator was made by this call: it is stored nowhere."""

    admin_password: SecretStr | None
    webhook_secret: SecretStr


def ensure_seed() -> Seed:
    """Make the administrator and the webhook secret where none exist. Several processes may do so at once."""
    with unit_of_work() as session:
        seed_queries.lock_seed(session)
        return Seed(admin_password=_ensure_admin(session), webhook_secret=_ensure_webhook_secret(session))


def ensure_simulated_agent(base_url: str, api_key: SecretStr) -> bool:
    """Point the welcome agent at a simulator; False, and no change, where an administrator set up a real one."""
    with unit_of_work() as session:
        seed_queries.lock_seed(session)
        agent = seed_queries.find_agent(session, WELCOME_AGENT)
        if agent is None:
            session.add(
                Agent(
                    name=WELCOME_AGENT,
                    base_url=base_url,
                    app_id=SIMULATED_APP,
                    api_key_encrypted=encrypt(api_key),
                )
            )
            return True
        if agent.app_id != SIMULATED_APP:
            return False
        agent.base_url = base_url
        agent.api_key_encrypted = encrypt(api_key)
        agent.updated_at = utc_now()
        return True


def ensure_demo_consultants(push_url: str) -> dict[str, SecretStr]:
    """Make three consultants who are pushed to `push_url`/<username>; return the passwords of those made by this call."""
    made: dict[str, SecretStr] = {}
    # The receiver is a simulator on this machine, which pushes do not go to otherwise.
    push_settings.allow_loopback(actor=SEEDED_BY)
    with unit_of_work() as session:
        seed_queries.lock_seed(session)
        for username, display_name in DEMO_CONSULTANTS.items():
            user = find_login(session, username)
            if user is None:
                user, made[username] = _new_login(username, "consultant")
                session.add(user)
                session.flush()
            consultant = seed_queries.find_consultant(session, user.id)
            if consultant is None:
                consultant = Consultant(id=new_id(), user_id=user.id, display_name=display_name)
                session.add(consultant)
                session.flush()
            channel = seed_queries.find_push_channel(session, consultant.id)
            if channel is None:
                channel = PushChannel(consultant_id=consultant.id, kind=DEMO_PUSH_KIND)
                session.add(channel)
            channel.url_encrypted = encrypt(SecretStr(f"{push_url}/{username}"))
    return made


def passwords_that_fit(passwords: dict[str, SecretStr]) -> dict[str, SecretStr]:
    """Return those of the passwords, by username, that still sign their user in."""
    with unit_of_work() as session:
        users = {name: find_login(session, name) for name in passwords}
    return {
        name: password
        for name, password in passwords.items()
        if (user := users[name]) and user.password_hash and password_fits(user.password_hash, password)
    }


def _ensure_admin(session: Session) -> SecretStr | None:
    if find_login(session, ADMIN) is not None:
        return None
    user, password = _new_login(ADMIN, "admin")
    session.add(user)
    return password


def _new_login(username: str, role: str) -> tuple[User, SecretStr]:
    password = new_password()
    user = User(
        id=new_id(),
        username=username,
        password_hash=hash_password(password),
        roles=[role],
        primary_role=role,
        registered_at=utc_now(),
    )
    return user, password


def _ensure_webhook_secret(session: Session) -> SecretStr:
    valid = list_valid_webhook_secrets(session)
    if valid:
        return decrypt(valid[0].secret_encrypted)
    secret = webhook_signature.new_secret()
    session.add(WebhookSecret(secret_encrypted=encrypt(secret), created_by=SEEDED_BY))
    return secret
