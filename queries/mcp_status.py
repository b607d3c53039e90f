"""Small reads about the database itself and the history of settings, for readiness and administration."""

from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from models import CallLog, CallTotal, SettingsVersion, ToolGroup


def check_schema(session: Session) -> None:
    """Touch a table of ours: fails where the migrations have not run."""
    session.execute(select(ToolGroup.id).limit(1))


def database_size_bytes(session: Session) -> int:
    return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def archiving(session: Session) -> dict[str, Any]:
    """Return whether the write-ahead log is archived, and when that last worked and failed."""
    mode = session.scalar(text("SELECT current_setting('archive_mode')"))
    row = session.execute(text("SELECT last_archived_time, last_failed_time FROM pg_stat_archiver")).one()
    return {
        "archive_mode": mode,
        "last_archived_at": row[0].isoformat() if row[0] else None,
        "last_archive_failed_at": row[1].isoformat() if row[1] else None,
    }


def list_settings_versions(session: Session, name: str, limit: int) -> list[SettingsVersion]:
    """Return versions of a family, newest first."""
    return list(
        session.scalars(
            select(SettingsVersion)
            .where(SettingsVersion.name == name)
            .order_by(SettingsVersion.version.desc())
            .limit(limit)
        )
    )


def find_settings_version(session: Session, name: str, version: int) -> SettingsVersion | None:
    return session.scalars(
        select(SettingsVersion).where(SettingsVersion.name == name, SettingsVersion.version == version)
    ).one_or_none()


def call_summary(session: Session) -> tuple[int, int, str | None]:
    """Return the calls since the beginning, those that did not succeed, and when the last one on record was."""
    failed = func.sum(CallTotal.calls).filter(CallTotal.outcome != "ok")
    calls, errors = session.execute(select(func.sum(CallTotal.calls), failed)).one()
    last = session.scalar(select(CallLog.created_at).order_by(CallLog.created_at.desc()).limit(1))
    return int(calls or 0), int(errors or 0), last.isoformat() if last else None
