"""Consultants' push channels, and the key web pushes are signed with."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from models import Consultant, PushChannel, PushKey

_KEY_ID = 1


def list_channels(session: Session, consultant_id: UUID) -> Sequence[PushChannel]:
    """Return the consultant's channels in the order they are tried."""
    return session.scalars(
        select(PushChannel)
        .where(PushChannel.consultant_id == consultant_id)
        .order_by(PushChannel.position, PushChannel.id)
    ).all()


def lock_channel(session: Session, consultant_id: UUID, channel_id: UUID) -> PushChannel:
    """Return this consultant's channel, its row locked; raise NotFoundError."""
    found = session.scalars(
        select(PushChannel)
        .where(PushChannel.id == channel_id, PushChannel.consultant_id == consultant_id)
        .with_for_update()
    ).one_or_none()
    if found is None:
        raise NotFoundError("no such push channel", code="CHANNEL_NOT_FOUND")
    return found


def lock_consultant(session: Session, consultant_id: UUID) -> Consultant:
    """Return the consultant, the row locked; raise NotFoundError."""
    found = session.scalars(
        select(Consultant).where(Consultant.id == consultant_id).with_for_update(key_share=True)
    ).one_or_none()
    if found is None:
        raise NotFoundError("no such consultant", code="CONSULTANT_NOT_FOUND")
    return found


def next_position(session: Session, consultant_id: UUID) -> int:
    """Return the place after the consultant's last channel."""
    last = session.scalar(select(func.max(PushChannel.position)).where(PushChannel.consultant_id == consultant_id))
    return 0 if last is None else last + 1


def find_push_key(session: Session) -> PushKey | None:
    return session.get(PushKey, _KEY_ID)


def keep_push_key(session: Session, *, public_key: str, private_key_encrypted: bytes) -> PushKey:
    """Store this key pair unless there is one; return the one there is."""
    insert = pg_insert(PushKey).values(id=_KEY_ID, public_key=public_key, private_key_encrypted=private_key_encrypted)
    session.execute(insert.on_conflict_do_nothing())
    return session.get_one(PushKey, _KEY_ID)
