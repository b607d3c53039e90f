"""The audit trail: who did what to what, written in the transaction of the deed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.database import unit_of_work
from models import AuditEntry
from queries import audit as queries


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    origin: str | None = None,
) -> None:
    """Add one entry to the caller's transaction. Secrets never belong into `before` or `after`; `origin` is an address."""
    session.add(AuditEntry(actor=actor, action=action, subject=subject, before=before, after=after, origin=origin))


def listed(
    *,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int = 50,
) -> Sequence[AuditEntry]:
    """Return entries, newest first; `action` and `subject` are beginnings, `before` is the last id of the page before."""
    with unit_of_work() as session:
        return queries.list_entries(
            session,
            actor=actor,
            action=action,
            subject=subject,
            since=since,
            until=until,
            before=before,
            limit=limit,
        )


def first_broken() -> int | None:
    """Return the id of the first entry that was changed or follows a removed one; None where the log is whole."""
    with unit_of_work() as session:
        return queries.find_broken(session)
