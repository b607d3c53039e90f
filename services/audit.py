"""The audit trail: who did what to what, written in the transaction of the deed."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.database import unit_of_work
from models import AuditEntry
from queries import audit as queries

# What the log calls whatever was done by nobody who signs in, so that nobody who signs in may be called so.
OWN_ACTORS = frozenset({"cli", "escalation", "retention", "seed", "sign-in", "system"})
CUSTOMER_PREFIX = "customer:"
# Somebody who sees customers masked was shown one, or given what shows them.
REVEAL = "personal_data.reveal"


def is_reserved(name: str) -> bool:
    """Tell whether an entry by somebody of this name would read as one of ours or a customer's."""
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    return plain in OWN_ACTORS or plain.startswith(CUSTOMER_PREFIX)


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    origin: str | None = None,
) -> AuditEntry:
    """Add one entry to the caller's transaction. Secrets never belong into `before` or `after`; `origin` is an address.

    The entry has its id and its time when the session was flushed.
    """
    entry = AuditEntry(actor=actor, action=action, subject=subject, before=before, after=after, origin=origin)
    session.add(entry)
    return entry


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
