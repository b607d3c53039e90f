"""Writing down what was paid for: a failed write is repeated, never the call whose answer it holds."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from core.errors import AnmeiError, DatabaseUnavailableError
from core.logging import get_logger

T = TypeVar("T")
Item = TypeVar("Item")
log = get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
# A database that is away longer than this outlives the answer in memory: the lease runs out and the call is repeated.
GIVE_UP_SECONDS = 300.0


def persist(write: Callable[[], T], *, give_up_seconds: float = GIVE_UP_SECONDS) -> T:
    """Run an idempotent write, again and again while the database is away; raise DatabaseUnavailableError at the end."""
    give_up_at = time.monotonic() + give_up_seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return write()
        except (DatabaseUnavailableError, OSError) as error:
            if time.monotonic() + pause > give_up_at:
                raise
            log.warning("write_postponed", error=str(error)[:200], pause_seconds=pause)
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def together_or_alone(items: Sequence[Item], work: Callable[[Sequence[Item]], None]) -> list[tuple[Item, Exception]]:
    """Do the work for all items in one go, or where that fails for each alone; return those that fail alone, and why.

    Raises DatabaseUnavailableError: that is nobody's fault in particular.
    """
    if not items:
        return []
    try:
        work(items)
    except DatabaseUnavailableError:
        raise
    except (DBAPIError, AnmeiError, OSError) as error:
        if len(items) == 1:
            return [(items[0], error)]
        return [failed for one in items for failed in together_or_alone([one], work)]
    return []
