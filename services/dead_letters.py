"""What operators do about journeys that failed for good: look, replay with or without other inputs, discard."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from core.database import unit_of_work
from core.errors import ConflictError, InvalidInputError
from models import DeadLetter, DeadLetterStatus, StepName
from queries import dead_letters as queries
from queries import journeys_read
from queries.dead_letters import DeadLetterFilter, Revival
from queries.replays import REPLAY_MANY, REPLAY_SUBJECT
from services import audit, masking
from services.step_payload import validated_payload

# One bulk replay takes at most this many; the answer says when more are left.
REPLAY_AT_ONCE = 1000
REASON_MAX = 500


@dataclass(frozen=True, slots=True)
class Replayed:
    """What is under way again; the caller may publish those that are due at once, the sweep does the rest."""

    journey_id: UUID
    step: StepName


@dataclass(frozen=True, slots=True)
class ReplayedMany:
    """What one bulk replay took, oldest first, and the number under which its progress is found (services.replays)."""

    replay_id: int
    items: list[Replayed]


def listed(
    wanted: DeadLetterFilter, *, before: UUID | None = None, limit: int = 50, shown: bool = False
) -> list[DeadLetter]:
    """Return dead letters, newest first; what names a customer masked unless `shown` (services.reveal)."""
    with unit_of_work() as session:
        found = queries.list_dead_letters(session, wanted, before=before, limit=limit)
        names = {} if shown else journeys_read.list_users_of(session, [one.journey_id for one in found])
    # No longer part of a transaction: what is masked here is written nowhere.
    return found if shown else [masking.dead_letter(one, masking.names_of(names[one.journey_id])) for one in found]


def get(dead_letter_id: UUID, *, shown: bool = False) -> DeadLetter:
    """Return the dead letter, masked unless `shown`; raise NotFoundError."""
    with unit_of_work() as session:
        found = queries.get_dead_letter(session, dead_letter_id)
        names = journeys_read.list_users_of(session, [found.journey_id])
    return found if shown else masking.dead_letter(found, masking.names_of(names[found.journey_id]))


def count_open(wanted: DeadLetterFilter) -> int:
    """Return how many open dead letters match."""
    with unit_of_work() as session:
        return queries.count_open(session, wanted)


def replay(
    dead_letter_id: UUID, *, actor: str, payload: dict[str, Any] | None = None, origin: str | None = None
) -> Replayed:
    """Have the failed step done again, its retries counted anew, with the payload's inputs where one is given.

    Audited. Raises NotFoundError, ConflictError when it is not open, InvalidInputError for a payload that does not fit.
    """
    with unit_of_work() as session:
        letter = _lock_open(session, dead_letter_id)
        checked = validated_payload(StepName(letter.step), payload)
        queries.revive_steps(session, [Revival(letter.journey_id, letter.step, checked, 0.0)])
        _close(letter, DeadLetterStatus.REPLAYED, actor)
        # The log is kept for ever and cannot be changed, so nothing that names a customer gets into it.
        names = _names(session, letter.journey_id)
        audit.record(
            session,
            actor=actor,
            action="dead_letter.replay",
            subject=f"dead_letter:{letter.id}",
            before={"payload": masking.document(letter.payload, names)},
            after={"payload": masking.document(checked, names)} if checked is not None else None,
            origin=origin,
        )
        return Replayed(letter.journey_id, StepName(letter.step))


def replay_many(
    wanted: DeadLetterFilter,
    *,
    actor: str,
    per_second: float = 20.0,
    most: int = REPLAY_AT_ONCE,
    origin: str | None = None,
) -> ReplayedMany:
    """Replay the open dead letters that match, oldest first, so many a second: the steps become due one after another.

    Audited as one act. Takes at most `most`.
    """
    if per_second <= 0:
        raise InvalidInputError("per_second must be greater than 0")
    with unit_of_work() as session:
        letters = queries.lock_some_open(session, wanted, most=min(most, REPLAY_AT_ONCE))
        queries.revive_steps(
            session,
            [Revival(one.journey_id, one.step, None, place / per_second) for place, one in enumerate(letters)],
        )
        for letter in letters:
            _close(letter, DeadLetterStatus.REPLAYED, actor)
        ids = {"first": str(letters[0].id), "last": str(letters[-1].id)} if letters else {}
        entry = audit.record(
            session,
            actor=actor,
            action=REPLAY_MANY,
            subject=REPLAY_SUBJECT,
            # Which they were is found again by where they lie and by their closing time, which is this transaction's.
            after={"count": len(letters), "per_second": per_second, "filter": _described(wanted), **ids},
            origin=origin,
        )
        session.flush()
        return ReplayedMany(entry.id, [Replayed(one.journey_id, StepName(one.step)) for one in letters])


def discard(dead_letter_id: UUID, *, actor: str, reason: str, origin: str | None = None) -> UUID:
    """Close the dead letter for good and cancel its journey; return the journey's id.

    Audited. Raises NotFoundError, ConflictError when it is not open, InvalidInputError without a reason.
    """
    if not reason.strip():
        raise InvalidInputError("a reason is needed: who looks at this later must understand why nothing was done")
    with unit_of_work() as session:
        letter = _lock_open(session, dead_letter_id)
        queries.cancel_journey(session, letter.journey_id, reason=f"discarded: {reason[:REASON_MAX]}")
        for one in queries.lock_open_of_journey(session, letter.journey_id):
            _close(one, DeadLetterStatus.DISCARDED, actor, reason[:REASON_MAX])
        audit.record(
            session,
            actor=actor,
            action="dead_letter.discard",
            subject=f"dead_letter:{letter.id}",
            before={"step": letter.step, "error_code": letter.error_code},
            after={"reason": masking.prose(reason[:REASON_MAX], _names(session, letter.journey_id))},
            origin=origin,
        )
        return letter.journey_id


def _names(session: Session, journey_id: UUID) -> tuple[str | None, ...]:
    return masking.names_of(journeys_read.list_users_of(session, [journey_id])[journey_id])


def _lock_open(session: Session, dead_letter_id: UUID) -> DeadLetter:
    letter = queries.lock_dead_letter(session, dead_letter_id)
    if letter.status != DeadLetterStatus.OPEN:
        raise ConflictError(f"the dead letter is {letter.status} already", code="DEAD_LETTER_NOT_OPEN")
    return letter


def _close(letter: DeadLetter, status: DeadLetterStatus, actor: str, reason: str | None = None) -> None:
    letter.status = status
    letter.closed_by = actor
    letter.reason = reason
    letter.closed_at = func.now()


def _described(wanted: DeadLetterFilter) -> dict[str, str]:
    values: Sequence[tuple[str, object]] = (
        ("step", wanted.step),
        ("error_code", wanted.error_code),
        ("opened_from", wanted.opened_from),
        ("opened_to", wanted.opened_to),
    )
    return {name: str(value) for name, value in values if value is not None}
