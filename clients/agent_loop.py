"""One event-loop thread and one HTTP connection pool a process, on which all agent calls wait together."""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

from clients import agent_limits as limits
from clients.agent_codes import AgentCode
from clients.agent_errors import agent_error
from clients.delta_relay import DeltaThread
from core import log_events
from core.errors import AgentPermanentError, AgentTransientError
from core.logging import get_logger

if TYPE_CHECKING:
    from clients.agent_http import AgentHttp

T = TypeVar("T")
log = get_logger(__name__)


Work = Callable[["AgentLoop"], Coroutine[Any, Any, T]]


class AgentLoop:
    """The thread, its loop and its connections. Callers are synchronous and on other threads."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._http: AgentHttp | None = None
        # The calls that are on, each with what its caller holds.
        self._calls: dict[asyncio.Task[Any], Future[Any]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._closing = False
        self.deltas = DeltaThread()
        # A daemon, so that a process that forgets to shut down can still end; `shutdown` runs at exit.
        self._thread = threading.Thread(target=self._serve, name="agent-loop", daemon=True)
        self._thread.start()

    @property
    def http(self) -> "AgentHttp":
        """Return the session all calls share; from the loop's thread only."""
        if self._http is None:
            from clients.agent_http import AgentHttp

            self._http = AgentHttp()
        return self._http

    def submit(self, work: Work[T]) -> "Future[T]":
        """Start the work on the loop; the future fails only with our agent errors, and cancelling it cancels the work."""
        (future,) = self.submit_many([work])
        return future

    def submit_many(self, works: Sequence[Work[T]]) -> "list[Future[T]]":
        """Like `submit` for several, which together wake the loop once."""
        futures: list[Future[T]] = [Future() for _ in works]
        self._loop.call_soon_threadsafe(self._start, list(zip(works, futures, strict=True)))
        return futures

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something nobody waits for (stopping a run, draining a connection); from the loop's thread only."""
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def close(self, timeout_seconds: float = limits.SHUTDOWN_SECONDS) -> None:
        """Cancel the calls, let their stop requests go out, close the connections and end the thread."""
        closing = asyncio.run_coroutine_threadsafe(self._close(timeout_seconds), self._loop)
        try:
            closing.result(timeout_seconds + 1)
        except FutureTimeoutError:
            log.warning(log_events.AGENT_LOOP_CLOSE_LATE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1)
        self.deltas.close()

    def _start(self, calls: Sequence[tuple[Work[Any], "Future[Any]"]]) -> None:
        for work, future in calls:
            task = self._loop.create_task(self._call(work))
            self._calls[task] = future
            task.add_done_callback(self._settle)
            future.add_done_callback(partial(self._cancel_with, task))

    def _cancel_with(self, task: "asyncio.Task[Any]", future: "Future[Any]") -> None:
        if future.cancelled() and not task.done():
            self._loop.call_soon_threadsafe(task.cancel)

    def _settle(self, task: "asyncio.Task[Any]") -> None:
        """Tell the caller what a call came to. Until here the future can be cancelled, as the work is then, too."""
        future = self._calls.pop(task)
        if task.cancelled():
            future.cancel()
        if not future.set_running_or_notify_cancel():
            return
        error = task.exception()
        if error is None:
            future.set_result(task.result())
        else:
            future.set_exception(error)

    async def _call(self, work: Work[T]) -> T:
        try:
            return await work(self)
        except asyncio.CancelledError:
            if self._closing:
                raise agent_error(AgentCode.INTERRUPTED, "the process is shutting down") from None
            raise
        except (AgentTransientError, AgentPermanentError):
            raise
        except Exception as error:
            log.exception(log_events.AGENT_CLIENT_FAULT, error=type(error).__name__)
            raise agent_error(AgentCode.CLIENT_FAULT, f"the agent client failed: {type(error).__name__}") from None

    async def _close(self, timeout_seconds: float) -> None:
        self._closing = True
        calls = set(self._calls)
        for task in calls:
            task.cancel()
        if calls:
            await asyncio.wait(calls, timeout=timeout_seconds / 2)
        if self._background:
            await asyncio.wait(set(self._background), timeout=timeout_seconds / 2)
        left = set(self._background)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=0.5)
        if self._http is not None:
            await self._http.close()
        await self._loop.shutdown_asyncgens()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


_lock = threading.Lock()
_current: AgentLoop | None = None
# A loop of the parent process is kept, never closed: closing it would reach into descriptors the parent uses.
_inherited: list[AgentLoop] = []


def current() -> AgentLoop:
    """Return this process's loop, started on first use."""
    global _current
    with _lock:
        if _current is None:
            _current = AgentLoop()
        return _current


def shutdown(timeout_seconds: float = limits.SHUTDOWN_SECONDS) -> None:
    """End this process's loop, if there is one. Calls still open fail with AGENT_INTERRUPTED and their runs are stopped.

    Runs by itself at interpreter exit; a process that leaves by `os._exit` (a pool's child) calls it before.
    """
    global _current
    with _lock:
        loop, _current = _current, None
    if loop is not None:
        loop.close(timeout_seconds)


def _after_fork() -> None:
    global _lock, _current
    _lock = threading.Lock()
    if _current is not None:
        _inherited.append(_current)
        _current = None


os.register_at_fork(after_in_child=_after_fork)
atexit.register(shutdown)
