"""Rotation of the key that stored secrets are encrypted under, and of the webhook's secret."""

from datetime import timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Column, MetaData, Table

from core.clock import utc_now
from core.crypto import encrypt, rotate
from core.database import unit_of_work
from models import AuditEntry, Base, WebhookSecret
from queries.seed import list_encrypted, lock_seed, update_encrypted
from queries.settings import list_valid_webhook_secrets
from services.seed import new_webhook_secret

ENCRYPTED_SUFFIX = "_encrypted"


def encrypted_columns(metadata: MetaData) -> list[tuple[Table, Column[Any]]]:
    """Return every column that holds encrypted secrets; they are named so."""
    return [
        (table, column)
        for table in metadata.sorted_tables
        for column in table.columns
        if column.name.endswith(ENCRYPTED_SUFFIX)
    ]


def reencrypt_all(*, actor: str) -> dict[str, int]:
    """Encrypt every stored secret anew under the newest key; return how many by `table.column`.

    One transaction: either all are under the newest key, or none changed. Raises core.crypto.UndecryptableError when
    one is under a key that is not configured.
    """
    counts: dict[str, int] = {}
    with unit_of_work() as session:
        lock_seed(session)
        for table, column in encrypted_columns(Base.metadata):
            rows = list_encrypted(session, table, column)
            for identity, token in rows:
                update_encrypted(session, table, column, identity, rotate(token))
            counts[f"{table.name}.{column.name}"] = len(rows)
        session.add(AuditEntry(actor=actor, action="secrets.reencrypt", subject="secrets", details=dict(counts)))
    return counts


def rotate_webhook_secret(*, overlap_hours: float, actor: str) -> SecretStr:
    """Make a new webhook secret and return it; the ones valid now stay so for the overlap, never longer than they were."""
    secret = new_webhook_secret()
    until = utc_now() + timedelta(hours=overlap_hours)
    with unit_of_work() as session:
        lock_seed(session)
        for old in list_valid_webhook_secrets(session):
            old.expires_at = min(old.expires_at or until, until)
        session.add(WebhookSecret(secret_encrypted=encrypt(secret), created_by=actor))
        session.add(AuditEntry(actor=actor, action="webhook_secret.rotate", subject="webhook_secrets"))
    return secret
