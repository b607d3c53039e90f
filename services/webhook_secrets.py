"""The webhook's secrets as an administrator sees them: which are valid, and a new one in rotation."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr

from core.clock import utc_now
from core.crypto import encrypt
from core.database import unit_of_work
from core.ids import new_id
from models import WebhookSecret
from queries import settings as queries
from queries.seed import lock_seed
from services import audit, webhook_signature


def listed() -> Sequence[WebhookSecret]:
    """Return every secret's dates, newest first."""
    with unit_of_work() as session:
        return queries.list_webhook_secrets(session)


def rotate(*, old_valid_hours: float, actor: str, origin: str | None = None) -> tuple[WebhookSecret, SecretStr]:
    """Make a new secret and return it, this once; those valid now stay so for the hours, never longer than they were.

    The signup service may sign with either meanwhile, so nothing is refused while it changes over. Audited.
    """
    secret = webhook_signature.new_secret()
    until = utc_now() + timedelta(hours=old_valid_hours)
    with unit_of_work() as session:
        lock_seed(session)
        ending = queries.list_valid_webhook_secrets(session)
        for old in ending:
            old.expires_at = min(old.expires_at or until, until)
        row = WebhookSecret(id=new_id(), secret_encrypted=encrypt(secret), created_by=actor)
        session.add(row)
        audit.record(
            session,
            actor=actor,
            action="webhook_secret.rotate",
            subject=f"webhook_secret:{row.id}",
            after={"old": [str(old.id) for old in ending], "old_valid_until": until.isoformat()},
            origin=origin,
        )
        session.flush()
        session.refresh(row)
    return row, secret


def is_valid(secret: WebhookSecret, now: datetime) -> bool:
    """Tell whether a webhook may be signed with it."""
    return secret.expires_at is None or secret.expires_at > now
