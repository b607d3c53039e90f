"""Configuration as immutable snapshots: read without a query, swapped in every process when the database says it changed.

A change commits and notifies (`LISTEN/NOTIFY`, sent by triggers); one thread a process listens, loads the new snapshot
and swaps it in. A snapshot that fails to load is refused and the old one stays. Where the listener is cut off, readers
fall back to loading at most once a second, so a change is never later than that.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core import log_events
from core.database import unit_of_work
from core.errors import AnmeiError
from core.logging import get_logger
from core.settings import get_settings

CHANNEL = "anmei_changed"
# How old a snapshot may be while nobody listens for its changes.
UNHEARD_MAX_AGE_SECONDS = 1.0
RECONNECT_SECONDS = 0.5
# A dead connection is noticed after this long at the latest: a listener that hears nothing asks.
PING_SECONDS = 10.0
# How a listener is told apart in pg_stat_activity.
LISTENER_NAME = "anmei-listener"

T = TypeVar("T")
log = get_logger(__name__)
_registered: dict[str, list["Snapshot[Any]"]] = {}


class Snapshot(Generic[T]):
    """A value computed from the database and kept current. `load` runs in a transaction and returns something immutable."""

    def __init__(self, name: str, load: Callable[[Session], T]) -> None:
        self.name = name
        self._load = load
        self._lock = threading.Lock()
        self._value: T | None = None
        self._loaded_at = float("-inf")
        self._pid = 0
        self._on_change: list[Callable[[T], None]] = []
        _registered.setdefault(name, []).append(self)

    def current(self) -> T:
        """Return the newest snapshot this process has. The first use loads it, and raises what loading raises."""
        if self._pid != os.getpid():
            self._after_fork()
        value = self._value
        if value is not None and (_listener.listening or time.monotonic() - self._loaded_at < UNHEARD_MAX_AGE_SECONDS):
            return value
        if value is None:
            return self.reload()
        self._refresh()
        return self._value if self._value is not None else value

    def reload(self) -> T:
        """Load and swap in the snapshot; raise what loading raises, the old one then stays."""
        with self._lock, unit_of_work() as session:
            value = self._load(session)
            self._value = value
            self._loaded_at = time.monotonic()
        log.debug(log_events.SNAPSHOT_LOADED, snapshot=self.name)
        for notify in self._on_change:
            notify(value)
        return value

    def on_change(self, notify: Callable[[T], None]) -> None:
        """Call `notify` with every newly loaded snapshot, on the listener's thread."""
        self._on_change.append(notify)

    def _refresh(self) -> None:
        self._loaded_at = time.monotonic()
        try:
            self.reload()
        except (AnmeiError, SQLAlchemyError, ValueError, LookupError) as error:
            # The old snapshot stays in force; the line is at error level because somebody's change is not applied.
            log.error(log_events.SNAPSHOT_REFUSED, snapshot=self.name, error=str(error))

    def _after_fork(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._value = None
                _listener.ensure_running()


def forget_all() -> None:
    """Drop every snapshot this process holds; the next use loads it again. For tests, which empty tables behind its back."""
    for snapshots in _registered.values():
        for snapshot in snapshots:
            # A load in progress would put back what it read before.
            with snapshot._lock:
                snapshot._value = None


def listener_pid() -> int | None:
    """Return the server's process behind this process's listening connection; None while nobody listens."""
    return _listener.backend_pid if _listener.listening and _listener.owner == os.getpid() else None


class _Listener:
    def __init__(self) -> None:
        self.listening = False
        self.backend_pid: int | None = None
        self._pid = 0
        self._lock = threading.Lock()

    @property
    def owner(self) -> int:
        return self._pid

    def ensure_running(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self.listening = False
            threading.Thread(target=self._run, name="snapshot-listener", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except psycopg.Error as error:
                self.listening = False
                log.warning("snapshot_listener_lost", error=type(error).__name__)
            time.sleep(RECONNECT_SECONDS)

    def _listen(self) -> None:
        url = get_settings().require_database_url().replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(url, autocommit=True, connect_timeout=3, application_name=LISTENER_NAME) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            # What changed while nobody listened is loaded now; from here on every change is heard.
            for snapshots in _registered.values():
                for snapshot in snapshots:
                    if snapshot._value is not None:
                        snapshot._refresh()
            self.backend_pid = connection.info.backend_pid
            self.listening = True
            while True:
                names = {notice.payload for notice in connection.notifies(timeout=PING_SECONDS, stop_after=1)}
                if not names:
                    connection.execute("SELECT 1")
                for name in names:
                    for snapshot in _registered.get(name, []):
                        snapshot._refresh()


_listener = _Listener()
