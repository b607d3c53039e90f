"""A worker that is alive but no longer consumes is noticed by itself, and ends so that its supervisor starts another.

After some reconnections a Celery worker keeps its connection and its heartbeat and receives nothing more (celery issues
8030 and 10205). Seen from inside: messages stand in its queues while it is idle and nothing arrives.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.errors import BrokerUnavailableError
from core.logging import get_logger

log = get_logger(__name__)

CHECK_SECONDS = 5.0
# Idle beside a full queue this long, with a broker that answers, is no accident.
DEAF_AFTER_SECONDS = 20.0
# A worker that does not end when it is asked to is made to.
END_WITHIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Glance:
    """One look at the worker: how many messages wait, how many it works on, how many it ever received."""

    waiting: int
    working: int
    received: int


class DeafnessDetector:
    """Decides from glances taken one after another; knows no clock but the one it is given (seconds, monotonic)."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._received = -1

    def is_deaf(self, glance: Glance, now: float) -> bool:
        """Tell whether messages have waited beside an idle worker for too long."""
        heard = glance.received != self._received
        self._received = glance.received
        if heard or glance.working or not glance.waiting:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= DEAF_AFTER_SECONDS


class Watchdog:
    """Looks every few seconds, on a thread of its own in the worker's main process."""

    def __init__(self, glance: Callable[[], Glance], queues: Sequence[str]) -> None:
        self._glance = glance
        self._queues = queues
        self._detector = DeafnessDetector()
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(CHECK_SECONDS):
            try:
                deaf = self._detector.is_deaf(self._glance(), time.monotonic())
            except BrokerUnavailableError:
                # Nobody can consume from a broker that is away; Celery reconnects by itself.
                continue
            if deaf:
                log.critical("worker_not_consuming", queues=list(self._queues))
                self._end()

    def _end(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._stopped.wait(END_WITHIN_SECONDS):
            os.kill(os.getpid(), signal.SIGKILL)
