"""One event-loop thread and one HTTP connection pool a process, on which all agent calls wait together."""

import asyncio
import atexit
import os
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import uvloop

from clients.agent_codes import AgentCode
from clients.agent_errors import agent_error
from clients.delta_relay import DeltaThread
from core import log_events
from core.errors import AgentPermanentError, AgentTransientError
from core.logging import get_logger

CONNECT_SECONDS = 5.0
# Dify pings every 10 s: silence over two pings and a bit is a dead connection.
IDLE_READ_SECONDS = 28.0
WRITE_SECONDS = 10.0
# A call waits here only when a thousand others are open; better to fail over than to queue.
POOL_SECONDS = 2.0
MAX_CONNECTIONS = 1000
MAX_IDLE_CONNECTIONS = 100
# httpcore looks at every connection of a pool for every request: at 300 open calls one pool costs 6 ms of CPU a call, pools
# of a dozen 1 ms. So calls spread over as many clients as they need, the first ones first, which keeps connections in use.
CALLS_A_CLIENT = 12
SHUTDOWN_SECONDS = 3.0

T = TypeVar("T")
log = get_logger(__name__)


@dataclass(slots=True)
class _Client:
    http: httpx.AsyncClient
    calls: int = 0


class AgentLoop:
    """The thread, its loop and its connections. Callers are synchronous and on other threads."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._tls: ssl.SSLContext | None = None
        self._clients: list[_Client] = []
        self._client_of: dict[asyncio.Task[Any] | None, _Client] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._background: set[asyncio.Task[Any]] = set()
        self._closing = False
        self.deltas = DeltaThread()
        # A daemon, so that a process that forgets to shut down can still end; `shutdown` runs at exit.
        self._thread = threading.Thread(target=self._serve, name="agent-loop", daemon=True)
        self._thread.start()

    @property
    def http(self) -> httpx.AsyncClient:
        """Return the pooled client of the running call; from the loop's thread only. Redirects are not followed: a key
        must not travel."""
        return self._client_of.get(asyncio.current_task(), self._client_at(0)).http

    def _client_at(self, place: int) -> "_Client":
        while len(self._clients) <= place:
            self._clients.append(_Client(self._new_client()))
        return self._clients[place]

    def _roomy_client(self) -> "_Client":
        for client in self._clients:
            if client.calls < CALLS_A_CLIENT:
                return client
        if len(self._clients) * CALLS_A_CLIENT < MAX_CONNECTIONS:
            return self._client_at(len(self._clients))
        return min(self._clients, key=lambda client: client.calls)

    def _new_client(self) -> httpx.AsyncClient:
        if self._tls is None:
            self._tls = httpx.create_ssl_context(trust_env=False)
        return httpx.AsyncClient(
            timeout=httpx.Timeout(IDLE_READ_SECONDS, connect=CONNECT_SECONDS, write=WRITE_SECONDS, pool=POOL_SECONDS),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS),
            follow_redirects=False,
            # Proxies and certificates from the environment would be settings nobody sees.
            trust_env=False,
            verify=self._tls,
            headers={"accept-encoding": "identity", "user-agent": "anmei"},
        )

    def submit(self, work: Callable[["AgentLoop"], Coroutine[Any, Any, T]]) -> "Future[T]":
        """Start the work on the loop; the future fails only with our agent errors, and cancelling it cancels the work."""
        return asyncio.run_coroutine_threadsafe(self._call(work), self._loop)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something nobody waits for (stopping a run, draining a connection); from the loop's thread only."""
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def close(self, timeout_seconds: float = SHUTDOWN_SECONDS) -> None:
        """Cancel the calls, let their stop requests go out, close the connections and end the thread."""
        closing = asyncio.run_coroutine_threadsafe(self._close(timeout_seconds), self._loop)
        try:
            closing.result(timeout_seconds + 1)
        except FutureTimeoutError:
            log.warning(log_events.AGENT_LOOP_CLOSE_LATE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1)
        self.deltas.close()

    async def _call(self, work: Callable[["AgentLoop"], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        client = self._roomy_client()
        client.calls += 1
        self._client_of[task] = client
        if task is not None:
            self._calls.add(task)
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
        finally:
            client.calls -= 1
            self._client_of.pop(task, None)
            if task is not None:
                self._calls.discard(task)

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
        for client in self._clients:
            await client.http.aclose()
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


def shutdown(timeout_seconds: float = SHUTDOWN_SECONDS) -> None:
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
