"""Hands a streamed answer's pieces to a callback without ever letting the callback hold up the event loop."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

from core import log_events
from core.logging import get_logger

# An answer that is whole this soon after its first word needs no preview: the message itself is there. Shorter than
# somebody who looks at an empty place begins to wonder.
PREVIEW_AFTER_SECONDS = 0.25
# How long a finished answer waits for its last pieces to be handed over; the stored message says the same.
FLUSH_SECONDS = 0.2

log = get_logger(__name__)


class DeltaThread:
    """One daemon thread a process for all callbacks: an executor's threads would hold up the process's end."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Run the work after what was submitted before; from one thread only."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="agent-deltas", daemon=True)
            self._thread.start()
        self._queue.put(work)

    def close(self) -> None:
        """End the thread once it has done what was submitted; does not wait."""
        self._queue.put(None)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            work()


class DeltaRelay:
    """One call's pieces, in order, on the delta thread; pieces that arrive while the callback is busy are joined.

    What comes in the first PREVIEW_AFTER_SECONDS is handed over joined when they are over, and not at all when the answer
    ends before. A callback that raises gets no further pieces: a broken preview must not cost the answer.
    """

    def __init__(self, on_delta: Callable[[str], None], thread: DeltaThread) -> None:
        self._on_delta = on_delta
        self._thread = thread
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._opening: asyncio.TimerHandle | None = None
        self._open = False
        self._scheduled = False
        self._closed = False
        # What `finish` waits on while the callback is busy.
        self._done: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def push(self, text: str) -> None:
        """Queue a piece; from the event loop only."""
        with self._lock:
            if self._closed or not text:
                return
            self._waiting.append(text)
        if self._open:
            self._schedule()
        elif self._opening is None:
            self._opening = self._loop.call_later(PREVIEW_AFTER_SECONDS, self._begin)

    def close(self) -> None:
        """Hand over nothing more."""
        with self._lock:
            self._closed = True
            self._waiting.clear()

    async def finish(self) -> None:
        """Wait, briefly, until the pieces so far are handed over, if any ever were; then close."""
        if self._opening is not None:
            self._opening.cancel()
        with self._lock:
            self._done = self._loop.create_future() if self._scheduled else None
        if self._done is not None:
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._done
            except TimeoutError:
                log.warning(log_events.AGENT_DELTA_LATE)
        self.close()

    def _begin(self) -> None:
        self._open = True
        self._schedule()

    def _schedule(self) -> None:
        with self._lock:
            if self._closed or self._scheduled:
                return
            self._scheduled = True
        self._thread.submit(self._deliver)

    def _deliver(self) -> None:
        while True:
            with self._lock:
                text = "".join(self._waiting)
                self._waiting.clear()
                if not text:
                    self._scheduled = False
                    done = self._done
                    break
            try:
                self._on_delta(text)
            except Exception as error:  # noqa: BLE001 - the callback is foreign code; its failure is recorded, the answer goes on
                log.warning(log_events.AGENT_DELTA_FAILED, error=type(error).__name__)
                self.close()
        if done is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, done)


def _resolve(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)
