"""Rotation of the key that stored secrets are encrypted under. The webhook's secret: services.webhook_secrets."""

from typing import Any

from sqlalchemy import Column, MetaData, Table

from core.crypto import rotate
from core.database import unit_of_work
from models import AuditEntry, Base
from queries import settings as settings_queries
from queries.seed import list_encrypted, lock_seed, update_encrypted
from services.sealed import PREFIX, reseal

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
        sealed = settings_queries.lock_sealed_versions(session, PREFIX)
        for version in sealed:
            version.data = reseal(version.data)
        if sealed:
            counts["settings_versions.data"] = len(sealed)
        session.add(AuditEntry(actor=actor, action="secrets.reencrypt", subject="secrets", details=dict(counts)))
    return counts
