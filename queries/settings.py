"""Reads of versioned settings and webhook secrets."""

from uuid import UUID

from sqlalchemy import Text, cast, func, or_, select
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from models import SettingsVersion, WebhookSecret


def find_current(session: Session, name: str) -> SettingsVersion | None:
    """Return the version in force, or None when none was ever stored."""
    return session.scalars(
        select(SettingsVersion).where(SettingsVersion.name == name).order_by(SettingsVersion.version.desc()).limit(1)
    ).first()


def lock_latest_version(session: Session, name: str) -> int:
    """Return the newest version's number, 0 for none; other writers of the family wait until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    return session.scalar(select(func.max(SettingsVersion.version)).where(SettingsVersion.name == name)) or 0


def get_version(session: Session, name: str, version: int) -> SettingsVersion:
    """Return a version of the family; raise NotFoundError."""
    found = session.scalars(
        select(SettingsVersion).where(SettingsVersion.name == name, SettingsVersion.version == version)
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"{name} has no version {version}", code="VERSION_NOT_FOUND")
    return found


def list_versions(session: Session, name: str, *, before: UUID | None, limit: int) -> list[SettingsVersion]:
    """Return the family's versions, newest first."""
    query = select(SettingsVersion).where(SettingsVersion.name == name).order_by(SettingsVersion.version.desc())
    if before is not None:
        last = select(SettingsVersion.version).where(SettingsVersion.id == before).scalar_subquery()
        query = query.where(SettingsVersion.version < last)
    return list(session.scalars(query.limit(limit)))


def lock_sealed_versions(session: Session, prefix: str) -> list[SettingsVersion]:
    """Return every version that holds a sealed secret, the rows locked until the transaction ends."""
    holding = cast(SettingsVersion.data, Text).contains(f'"{prefix}', autoescape=True)
    return list(session.scalars(select(SettingsVersion).where(holding).order_by(SettingsVersion.id).with_for_update()))


def list_webhook_secrets(session: Session) -> list[WebhookSecret]:
    """Return every secret ever made, newest first."""
    return list(
        session.scalars(select(WebhookSecret).order_by(WebhookSecret.created_at.desc(), WebhookSecret.id.desc()))
    )


def list_valid_webhook_secrets(session: Session) -> list[WebhookSecret]:
    """Return the secrets a webhook may be signed with now, newest first."""
    return list(
        session.scalars(
            select(WebhookSecret)
            .where(or_(WebhookSecret.expires_at.is_(None), WebhookSecret.expires_at > func.now()))
            .order_by(WebhookSecret.created_at.desc())
        )
    )
