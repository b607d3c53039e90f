"""The beat process: sweeps while it leads, greets overdue customers whether it leads or not.

Any number may run. The leader holds a session advisory lock, so PostgreSQL gives it to another candidate when the leader's
connection ends, however it ended.
"""

import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from uuid import UUID

import psycopg

from core import log_events, memory
from core.errors import DatabaseUnavailableError
from core.logging import configure_logging, get_logger
from core.settings import get_settings
from services import confirmations
from services.greeting import greet_overdue
from tasks.names import TaskName
from tasks.publish import publish_maintenance, publish_notify
from tasks.sweeping import sweep_once

log = get_logger(__name__)

LEADER_LOCK = 7_300_002
# Short enough that a greeting is not late by more than the reserve it is sent ahead of its deadline.
TICK_SECONDS = 0.1
SWEEP_SECONDS = 0.5
ELECTION_SECONDS = 1.0
STOP_SECONDS = 3.0
# What is done how often, in seconds; each is a task of its own and safe to run twice.
MAINTENANCE: dict[TaskName, float] = {
    TaskName.REVIEW_CANARIES: 15.0,
    TaskName.FORGET_CONNECTIONS: 60.0,
    TaskName.PRUNE_EVENTS: 600.0,
    TaskName.ERASE_LATE_WRITES: 600.0,
    TaskName.RETENTION: 3600.0,
}


class Leadership:
    """The advisory lock, on a connection of its own."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection | None = None
        self._asked_at = float("-inf")

    def held(self) -> bool:
        """Tell whether this process leads now; asks for the lock at most once a second while it does not."""
        if self._connection is not None:
            if self._alive(self._connection):
                return True
            log.warning(log_events.LEADER_LOST)
            self.release()
        if time.monotonic() - self._asked_at < ELECTION_SECONDS:
            return False
        self._asked_at = time.monotonic()
        return self._try()

    def release(self) -> None:
        """Give the lock up by closing its connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try(self) -> bool:
        url = get_settings().require_database_url().replace("postgresql+psycopg://", "postgresql://")
        try:
            connection = psycopg.connect(url, autocommit=True, connect_timeout=3)
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LEADER_LOCK,)).fetchone()
        except psycopg.Error as error:
            log.warning("election_failed", error=type(error).__name__)
            return False
        if row is None or not row[0]:
            connection.close()
            return False
        self._connection = connection
        log.info(log_events.LEADER_ELECTED)
        return True

    @staticmethod
    def _alive(connection: psycopg.Connection) -> bool:
        try:
            connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True


class Beat:
    """Two loops. The first greets and needs nothing but the database; the second sends messages, and may wait for a broker.

    Each part runs when it is due; a database that is away skips a turn, nothing more.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._leadership = Leadership()
        self._sweep_at = 0.0
        self._maintain_at = {name: time.monotonic() + seconds for name, seconds in MAINTENANCE.items()}
        self._ready: SimpleQueue[Collection[UUID]] = SimpleQueue()

    def run(self) -> None:
        """Run until asked to stop; raise when one of the loops meets what it was not made for."""
        sending = threading.Thread(target=self._send, name="sweep", daemon=True)
        sending.start()
        while not self.stopping.wait(TICK_SECONDS):
            if not sending.is_alive():
                raise RuntimeError("the sweep ended by itself; its last words are in the log")
            with _skipping_turns():
                greet_overdue(on_ready=self._ready.put)
        # A broker that hangs does not keep the process from ending.
        sending.join(STOP_SECONDS)
        self._leadership.release()

    def _send(self) -> None:
        while not self.stopping.is_set():
            with _skipping_turns():
                self._send_ready()
                self._sweep()

    def _send_ready(self) -> None:
        """Send what the greetings made due; what comes while this sends, or is lost with it, the sweep finds."""
        try:
            publish_notify(self._ready.get(timeout=TICK_SECONDS))
        except Empty:
            return

    def _sweep(self) -> None:
        now = time.monotonic()
        if now < self._sweep_at or not self._leadership.held():
            return
        self._sweep_at = now + SWEEP_SECONDS
        sweep_once()
        for name, at in self._maintain_at.items():
            if now >= at:
                self._maintain_at[name] = now + MAINTENANCE[name]
                publish_maintenance(name)


@contextmanager
def _skipping_turns() -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailableError as error:
        log.warning("beat_turn_skipped", error=error.message)
        time.sleep(TICK_SECONDS)


def main() -> None:
    """Run the beat role until SIGTERM or SIGINT."""
    configure_logging("beat")
    beat = Beat()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: beat.stopping.set())
    log.info(log_events.PROCESS_STARTED)
    confirmations.begin("beat")
    memory.settle()
    beat.run()
    confirmations.end()
    log.info(log_events.PROCESS_STOPPED)
