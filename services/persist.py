"""Writing down what was paid for: a failed write is repeated, never the call whose answer it holds."""

import time
from collections.abc import Callable
from typing import TypeVar

from core.errors import DatabaseUnavailableError
from core.logging import get_logger

T = TypeVar("T")
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
        except DatabaseUnavailableError as error:
            if time.monotonic() + pause > give_up_at:
                raise
            log.warning("write_postponed", error=error.message, pause_seconds=pause)
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
