"""One thread a process through which all welcomes pass, so that whatever comes together is written down together.

Tasks bring errands, agents bring answers, both into one queue. Each turn takes what has come since the last one: what
finds the desk idle is served at once and alone, and the more comes, the more share the cost of a statement.
"""

import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from uuid import UUID

from clients.agents import AgentAnswer
from core import log_events
from core.logging import get_logger
from services.steps.errand import Errand
from services.steps.writing import Writing

log = get_logger(__name__)

_Item = Errand | Future[AgentAnswer]


class Desk:
    """The thread and its queue. Started on first use; a daemon, since whoever has an errand waits for it anyway."""

    def __init__(self) -> None:
        self._items: SimpleQueue[_Item] = SimpleQueue()
        self._writing = Writing(self._items.put)
        self._waiting: deque[Errand] = deque()
        threading.Thread(target=self._serve, name="welcome-desk", daemon=True).start()

    def submit(self, journey_ids: Sequence[UUID]) -> Errand:
        """Hand in journeys; the errand is to be waited for."""
        errand = Errand(journey_ids)
        self._items.put(errand)
        return errand

    def _serve(self) -> None:
        while True:
            try:
                # What has been paid for comes first.
                self._writing.settle(self._gather())
                self._writing.take(self._next_portions())
                self._writing.look()
            except Exception as error:
                log.exception(log_events.WELCOME_DESK_FAULT, error=type(error).__name__)
                self._abandon(error)

    def _gather(self) -> list[Future[AgentAnswer]]:
        """Wait for something to do; queue the errands that have come and return the answers."""
        answered: list[Future[AgentAnswer]] = []
        try:
            item = self._items.get(timeout=self._patience_seconds())
            while True:
                if isinstance(item, Errand):
                    self._waiting.append(item)
                else:
                    answered.append(item)
                item = self._items.get_nowait()
        except Empty:
            return answered

    def _patience_seconds(self) -> float | None:
        return 0 if self._waiting and self._writing.room() > 0 else self._writing.next_look_seconds()

    def _next_portions(self) -> dict[Errand, list[UUID]]:
        """Return what there is room for, in the order it came; of the last errand perhaps a part."""
        portions: dict[Errand, list[UUID]] = {}
        room = self._writing.room() if self._waiting else 0
        while self._waiting and room > 0:
            errand = self._waiting[0]
            if portion := errand.take(room):
                portions[errand] = portion
                room -= len(portion)
            if not errand.left:
                self._waiting.popleft()
        return portions

    def _abandon(self, error: Exception) -> None:
        # The leases run out and the sweep sends the journeys again; what was taken is closed by the writing itself.
        self._writing.abandon(error)
        while self._waiting:
            self._waiting.popleft().close(error)


_lock = threading.Lock()
_current: tuple[int, Desk] | None = None


def current() -> Desk:
    """Return this process's desk; a forked child gets its own."""
    global _current
    with _lock:
        if _current is None or _current[0] != os.getpid():
            _current = (os.getpid(), Desk())
        return _current[1]
