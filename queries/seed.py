"""Reads and the lock of seeding."""

from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table, func, select, update
from sqlalchemy.orm import Session

from models import Agent, Consultant, PushChannel

# Any constant does; it must only be ours.
SEED_LOCK = 7_300_010


def lock_seed(session: Session) -> None:
    """Wait for other seeding processes, and hold them off until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(SEED_LOCK)))


def find_agent(session: Session, name: str) -> Agent | None:
    return session.scalars(select(Agent).where(Agent.name == name)).one_or_none()


def find_consultant(session: Session, user_id: UUID) -> Consultant | None:
    return session.scalars(select(Consultant).where(Consultant.user_id == user_id)).one_or_none()


def find_push_channel(session: Session, consultant_id: UUID) -> PushChannel | None:
    """Return the consultant's first push channel."""
    return session.scalars(
        select(PushChannel).where(PushChannel.consultant_id == consultant_id).order_by(PushChannel.position).limit(1)
    ).first()


def list_encrypted(session: Session, table: Table, column: Column[Any]) -> list[tuple[Any, bytes]]:
    """Return primary key and value of every row that holds a secret in the column, its rows locked."""
    key = _only_key(table)
    rows = session.execute(select(key, column).where(column.is_not(None)).with_for_update())
    return [(row[0], bytes(row[1])) for row in rows]


def update_encrypted(session: Session, table: Table, column: Column[Any], identity: Any, token: bytes) -> None:
    session.execute(update(table).where(_only_key(table) == identity).values({column: token}))


def _only_key(table: Table) -> Column[Any]:
    (key,) = table.primary_key.columns
    return key
