"""How webhook requests ended, refusals included: counted in the process, written to the database every second."""

import atexit
import os
import threading
import time
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from core import log_events
from core.database import unit_of_work
from core.errors import AnmeiError
from core.ids import new_id
from core.logging import get_logger
from queries import figures_now

FLUSH_SECONDS = 1.0
# A writer begins anew under another id this often, so that its old rows can be folded together.
WRITER_SECONDS = 3600.0
FOLD_AFTER_SECONDS = 2 * 24 * 3600.0
# Where folded rows go: an id no process ever makes.
KEEPER_ID = UUID(int=0)

log = get_logger(__name__)


class _Counter:
    """One process's counts since its writer id began. They are absolute, so writing them twice counts once."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._counts: dict[str, int] = {}
        self._writer_id = new_id()
        self._unwritten = False
        self._age_seconds = 0.0
        self._thread: threading.Thread | None = None

    def add(self, outcome: str) -> None:
        with self._lock:
            self._counts[outcome] = self._counts.get(outcome, 0) + 1
            self._unwritten = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="webhook-counts", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        with self._flushing:
            with self._lock:
                if not self._unwritten:
                    return
                counts, self._unwritten = dict(self._counts), False
            try:
                with unit_of_work() as session:
                    figures_now.write_webhook_outcomes(session, self._writer_id, counts)
            except BaseException:
                with self._lock:
                    self._unwritten = True
                raise

    def renew_writer(self) -> None:
        """Begin under a new id; only when everything counted under the old one is written."""
        with self._flushing, self._lock:
            if not self._unwritten:
                self._writer_id, self._counts, self._age_seconds = new_id(), {}, 0.0

    def belongs_to(self, pid: int) -> bool:
        return self._pid == pid

    def _run(self) -> None:
        while True:
            time.sleep(FLUSH_SECONDS)
            self._age_seconds += FLUSH_SECONDS
            try:
                self.flush()
            except (AnmeiError, SQLAlchemyError) as error:
                # Nothing is lost while the process lives: the next second tries again.
                log.warning(log_events.FIGURES_NOT_WRITTEN, error=type(error).__name__)
            if self._age_seconds >= WRITER_SECONDS:
                self.renew_writer()


_counter: _Counter | None = None
_guard = threading.Lock()


def count_webhook(outcome: str) -> None:
    """Count one webhook request by how it ended (accepted, duplicate, skipped, unauthorized, …). Costs no query.

    At most the last second is lost when the process is killed.
    """
    _current().add(outcome)


def flush() -> None:
    """Write what was counted so far; raise DatabaseUnavailableError. Runs by itself every second and at exit."""
    if _counter is not None and _counter.belongs_to(os.getpid()):
        _counter.flush()


def _current() -> _Counter:
    global _counter
    counter = _counter
    if counter is None or not counter.belongs_to(os.getpid()):
        with _guard:
            if _counter is None or not _counter.belongs_to(os.getpid()):
                _counter = _Counter()
            counter = _counter
    return counter


def _flush_at_exit() -> None:
    try:
        flush()
    except (AnmeiError, SQLAlchemyError) as error:
        log.warning(log_events.FIGURES_NOT_WRITTEN, error=type(error).__name__)


atexit.register(_flush_at_exit)
