"""Reading what sockets are told, in the order that is the same for every reader (docs/decisions/0006-events.md)."""

from collections.abc import Sequence
from uuid import UUID

from core.database import journey_work
from queries import events as queries
from queries.events import Told

# Read, and sent to one resuming socket, at a time.
PAGE = 500
NUMBERED_AT_ONCE = 5000


def position() -> int:
    """Return the number of the newest event committed so far; whatever is committed later gets a higher one."""
    while True:
        with journey_work() as connection:
            if queries.number_events(connection, most=NUMBERED_AT_ONCE) < NUMBERED_AT_ONCE:
                # After the numbering within this transaction, so its own numbers are seen too.
                return queries.last_number(connection)


def news(after: int) -> list[Told]:
    """Return the next events, at most PAGE, of all audiences; numbers those that have no number yet.

    What is returned is committed, and nothing with a number between can appear later.
    """
    with journey_work() as connection:
        queries.number_events(connection, most=NUMBERED_AT_ONCE)
        return queries.list_after(connection, after, most=PAGE)


def missed(audiences: Sequence[str], *, recipient_id: UUID | None, after: int, until: int) -> list[Told]:
    """Return what somebody missed between two numbers, at most PAGE; ask again from the last one's number."""
    with journey_work() as connection:
        return queries.list_missed(
            connection, audiences, recipient_id=recipient_id, after=after, until=until, most=PAGE
        )


def has_gap_after(number: int) -> bool:
    """Tell whether a resume from this number may miss events: some were deleted since, or the number was never given here."""
    if number > position():
        return True
    if number == 0:
        return False
    with journey_work() as connection:
        first = queries.first_number(connection)
    return first == 0 or first > number + 1
