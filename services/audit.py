"""The audit trail: who did what to what, written in the transaction of the deed."""

from typing import Any

from sqlalchemy.orm import Session

from models import AuditEntry


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
