"""One person's data as a whole: handed out to them, and erased so that the figures stay and nothing breaks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from clients import fanout
from core import log_events
from core.clock import utc_now
from core.database import unit_of_work
from core.errors import ConflictError
from core.logging import get_logger
from queries import persons as queries
from queries.holdings import HOLDINGS, Holding
from queries.persons import Person
from services import audit, masking

log = get_logger(__name__)

# What was under way when somebody was erased has ended by then: the longest agent call, and the writing of its log.
LATE_WRITES = timedelta(hours=1)
# A call that was under way began, and is logged as of, so long before at most.
LONGEST_CALL = timedelta(minutes=5)
ERASED_AGAIN_AT_ONCE = 200
REASON_MAX = 200
ACTOR = "system"


@dataclass(frozen=True, slots=True)
class Export:
    """Everything the record holds of one person, by table, as JSON has it."""

    user_id: UUID
    tables: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Erasure:
    """How many rows of each table were erased; those are kept, without saying who it was."""

    user_id: UUID
    rows: dict[str, int]


def export(user_id: UUID, *, actor: str, origin: str | None = None) -> Export:
    """Return what there is of a person (GDPR article 15, PIPL article 45). Audited. Raises NotFoundError.

    Without secrets, and without what is about others: who of the staff did something, call logs, sockets' frames.
    """
    with unit_of_work() as session:
        person = queries.find_person(session, user_id)
        tables = {one.table: queries.export_holding(session, one, person) for one in HOLDINGS if one.exported}
        counts = {table: len(rows) for table, rows in tables.items() if rows}
        audit.record(
            session, actor=actor, action="user.export", subject=f"user:{user_id}", after={"rows": counts}, origin=origin
        )
    return Export(user_id, {table: rows for table, rows in tables.items() if rows})


def erase(
    user_id: UUID, *, actor: str, reason: str, origin: str | None = None, logged_since: datetime | None = None
) -> Erasure:
    """Erase who a customer is from everything the record holds. Idempotent, audited; nothing brings it back.

    An open journey is cancelled, a claimed conversation is given back, pushes not sent are not sent, sessions end. Rows that
    figures are made of stay, as somebody's. The same registration sent again is answered as a duplicate, for ever.
    With `logged_since` the logs are read from then on only: nothing about the person was written before.
    Raises NotFoundError, and ConflictError (NOT_A_CUSTOMER) for who signs in as staff: they are switched off instead.
    """
    with unit_of_work() as session:
        queries.allow_long_scan(session)
        person = queries.find_person(session, user_id)
        user = person.user
        if user.password_hash is not None or queries.is_consultant(session, user_id):
            raise ConflictError("staff is switched off, not erased: the audit log names them", code="NOT_A_CUSTOMER")
        ended = queries.list_sessions(session, user_id)
        if person.journey_ids:
            queries.remember_erased(session, user)
        rows = _erase_rows(session, person, actor=actor, logged_since=logged_since)
        audit.record(
            session,
            actor=actor,
            action="user.erase",
            subject=f"user:{user_id}",
            after={"rows": rows, "reason": masking.without_names(reason[:REASON_MAX], person.names)},
            origin=origin,
        )
    for session_id in ended:
        fanout.announce_session_end(str(session_id))
    log.info(log_events.PERSON_ERASED, user_id=str(user_id), rows=sum(rows.values()))
    return Erasure(user_id, rows)


def erase_late_writes() -> int:
    """Erase again who was erased within the hour: a call under way then may have been logged since. Return how many rows.

    Of the logs only what was written since is read, so that this takes as long with a year of calls as with a day of them.
    """
    since = utc_now() - LATE_WRITES
    with unit_of_work() as session:
        erased = queries.list_erased_since(session, since, most=ERASED_AGAIN_AT_ONCE)
        come_back = queries.list_come_back(session, since)
    # A registration that waited for the erasure to commit did not see it.
    again = [
        erase(user_id, actor=ACTOR, reason="registered while being erased", logged_since=since - LONGEST_CALL)
        for user_id in come_back
    ]
    return sum(_erase_late(user_id) for user_id in erased) + sum(sum(one.rows.values()) for one in again)


def _erase_late(user_id: UUID) -> int:
    with unit_of_work() as session:
        person = queries.find_person(session, user_id)
        erased_at = person.user.erased_at
        if erased_at is None:
            return 0
        return sum(_erase_rows(session, person, actor=ACTOR, logged_since=erased_at - LONGEST_CALL).values())


def _erase_rows(session: Session, person: Person, *, actor: str, logged_since: datetime | None) -> dict[str, int]:
    logs, others = _split()
    began_at = utc_now()
    rows = Counter(
        {one.table: queries.erase_holding(session, one, person, actor=actor, since=logged_since) for one in logs}
    )
    # Reading logs takes its time; nobody has to wait for a journey's lock meanwhile.
    queries.lock_person(session, person)
    if person.user.erased_at is None:
        # What was logged meanwhile: after this nothing but a hash says what names the person.
        for one in (found for found in logs if found.written_at is not None):
            rows[one.table] += queries.erase_holding(session, one, person, actor=actor, since=began_at - LONGEST_CALL)
    for one in others:
        rows[one.table] += queries.erase_holding(session, one, person, actor=actor)
    return {table: count for table, count in rows.items() if count}


def _split() -> tuple[Sequence[Holding], Sequence[Holding]]:
    first = next(place for place, one in enumerate(HOLDINGS) if one.table == "journeys")
    return HOLDINGS[:first], HOLDINGS[first:]
