"""Reads of the audit log, and the check that it is whole."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from models import AuditEntry


def list_entries(
    session: Session,
    *,
    actor: str | None,
    action: str | None,
    subject: str | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int,
) -> Sequence[AuditEntry]:
    """Return entries, newest first; `action` and `subject` are beginnings (`user.`, `journey:`)."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if actor is not None:
        query = query.where(AuditEntry.actor == actor)
    if action is not None:
        query = query.where(AuditEntry.action.startswith(action, autoescape=True))
    if subject is not None:
        query = query.where(AuditEntry.subject.startswith(subject, autoescape=True))
    if since is not None:
        query = query.where(AuditEntry.at >= since)
    if until is not None:
        query = query.where(AuditEntry.at < until)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return session.scalars(query).all()


# Each row's hash again, from what it says and the hash before it. A changed row does not fit its own, a removed one leaves its
# successor without its predecessor, and removed last rows leave the head alone.
_BROKEN = text("""
WITH chained AS (
    SELECT a.id, a.chain_hash,
           lag(a.chain_hash, 1, ''::bytea) OVER (ORDER BY a.id) AS previous, anmei_audit_text(a) AS said
    FROM audit_log a WHERE a.chain_hash IS NOT NULL
),
broken AS (
    SELECT id FROM chained WHERE chain_hash <> sha256(previous || convert_to(said, 'UTF8'))
    UNION ALL
    SELECT h.last_id FROM audit_head h
    WHERE h.last_id > 0 AND NOT EXISTS (SELECT FROM audit_log a WHERE a.id = h.last_id AND a.chain_hash = h.hash)
    UNION ALL
    SELECT a.id FROM audit_log a WHERE a.chain_hash IS NULL AND EXISTS (SELECT FROM chained c WHERE c.id < a.id)
)
SELECT min(id) FROM broken
""")


def find_broken(session: Session) -> int | None:
    """Return the id of the first entry that was changed, or whose predecessor is gone; None where the log is whole."""
    broken = session.execute(_BROKEN).scalar_one()
    return int(broken) if broken is not None else None
