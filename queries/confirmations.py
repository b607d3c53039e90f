"""Which processes say that they run which versions of the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One process as it last reported itself; the age by the database's clock. `connected` is seen by the database itself."""

    id: UUID
    role: str
    host: str
    pid: int
    versions: Mapping[str, int]
    refused: Mapping[str, int]
    started_at: datetime
    changed_at: datetime
    seen_seconds_ago: float
    connected: bool


# A process that ended has no connection any more. One that hangs has, and stays on the list for a day.
_WRITE = text("""
INSERT INTO settings_processes AS p (id, role, host, pid, listener_pid, versions, refused)
VALUES (:id, :role, :host, :pid, :listener_pid, :versions, :refused)
ON CONFLICT (id) DO UPDATE SET listener_pid = excluded.listener_pid, seen_at = now(),
    versions = excluded.versions, refused = excluded.refused,
    changed_at = CASE WHEN (p.versions, p.refused) IS DISTINCT FROM (excluded.versions, excluded.refused)
                      THEN clock_timestamp() ELSE p.changed_at END
""").bindparams(bindparam("versions", type_=JSONB), bindparam("refused", type_=JSONB))
_FORGET = text("""
DELETE FROM settings_processes p
WHERE seen_at < now() - interval '1 day'
   OR (seen_at < now() - make_interval(secs => :gone_seconds)
       AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = p.listener_pid AND a.application_name = :listener_name))
""")


def write(
    session: Session,
    *,
    id: UUID,
    role: str,
    host: str,
    pid: int,
    listener_pid: int | None,
    versions: Mapping[str, int],
    refused: Mapping[str, int],
) -> None:
    """Say what this process runs. Idempotent."""
    parameters: dict[str, Any] = {"id": id, "role": role, "host": host, "pid": pid, "listener_pid": listener_pid}
    session.execute(_WRITE, parameters | {"versions": dict(versions), "refused": dict(refused)})


def forget_gone(session: Session, *, gone_seconds: float, listener_name: str) -> None:
    """Drop processes not heard of for so long whose connection is gone too."""
    session.execute(_FORGET, {"gone_seconds": gone_seconds, "listener_name": listener_name})


def delete(session: Session, id: UUID) -> None:
    """Take a process that leaves off the list."""
    session.execute(text("DELETE FROM settings_processes WHERE id = :id"), {"id": id})


_LIST = text("""
SELECT id, role, host, pid, versions, refused, started_at, changed_at,
       extract(epoch FROM clock_timestamp() - seen_at)::float8 AS seen_seconds_ago,
       EXISTS (SELECT FROM pg_stat_activity a
               WHERE a.pid = p.listener_pid AND a.application_name = :listener_name) AS connected
FROM settings_processes p ORDER BY role, host, pid, id
""")


def list_all(session: Session, *, listener_name: str) -> list[Confirmation]:
    """Return every process on the list, gone ones included."""
    return [Confirmation(**row._mapping) for row in session.execute(_LIST, {"listener_name": listener_name})]


_NEWEST = text("""
SELECT version, extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_seconds
FROM settings_versions WHERE name = :name ORDER BY version DESC LIMIT 1
""")


_NEWEST_OF_ALL = text("SELECT name, max(version) AS version FROM settings_versions GROUP BY name")


def newest_versions(session: Session) -> dict[str, int]:
    """Return the newest version of all settings that were ever stored, by name."""
    return {row.name: row.version for row in session.execute(_NEWEST_OF_ALL)}


def newest(session: Session, name: str) -> tuple[int, float]:
    """Return the newest version of these settings and how old it is; 0 and infinity where none was ever stored."""
    row = session.execute(_NEWEST, {"name": name}).one_or_none()
    return (row.version, row.age_seconds) if row else (0, float("inf"))
