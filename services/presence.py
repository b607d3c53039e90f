"""Which consultants are there: live sockets that expire by themselves, and the consultant's own word that they are away."""

from collections.abc import Sequence
from uuid import UUID

from clients import fanout
from core.database import unit_of_work
from queries import consultants as queries
from queries.consultants import Presence, Receipt
from queries.events import ALL_CONSULTANTS, NewEvent, append_events

# A process that dies takes its consultants offline after this; one that lives refreshes at a third of it.
EXPIRY_SECONDS = 30.0
REFRESH_SECONDS = 10.0
# A device whose connection broke is back within seconds as a rule, and what it missed follows then: until here it counts as
# open, so that a lift or a tunnel does not send everybody pushes.
GRACE_SECONDS = 10.0


def refresh(connections: dict[UUID, UUID]) -> None:
    """Say that these sockets (id → consultant) are open; call every REFRESH_SECONDS, and at once for a new one."""
    with unit_of_work() as session:
        queries.refresh_connections(session, connections, expiry_seconds=EXPIRY_SECONDS)


def leave(connection_ids: Sequence[UUID]) -> None:
    """Say that these sockets are closed. Idempotent."""
    with unit_of_work() as session:
        queries.delete_connections(session, connection_ids)


def lapse(connection_ids: Sequence[UUID]) -> None:
    """Say that these sockets broke off, without a goodbye: they count for GRACE_SECONDS more. Idempotent."""
    with unit_of_work() as session:
        queries.lapse_connections(session, connection_ids, grace_seconds=GRACE_SECONDS)


def set_away(consultant_id: UUID, *, away: bool) -> None:
    """Note a consultant's own word that they are away, or back, and tell all consultants' devices. Idempotent."""
    with unit_of_work() as session:
        if not queries.set_away(session, consultant_id, away=away):
            return
        data = {"consultant_id": str(consultant_id), "status": "away" if away else "online"}
        append_events(session, [NewEvent(ALL_CONSULTANTS, "presence", data)])
    fanout.announce()


def listed() -> list[Presence]:
    """Return every enabled consultant with their presence."""
    with unit_of_work() as session:
        return queries.list_presence(session)


def record_receipts(receipts: Sequence[Receipt]) -> None:
    """Note what consultants' devices say they received or showed. Idempotent."""
    with unit_of_work() as session:
        queries.record_receipts(session, receipts)
