"""Figures that cost something to collect, kept for everybody who looks: nobody waits for what another has just collected."""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from core.errors import AnmeiError
from core.logging import get_logger

# Collecting may take this share of the time at most, however many look and however much is stored.
COST_SHARE = 0.05
# How old a value may be that is still shown while a newer one is collected; one that costs more may be older.
SHOWN_SECONDS = 60.0
SHOWN_PER_COST = 300.0

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
log = get_logger(__name__)


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    collected_at: float
    cost_seconds: float
    is_renewed: bool = False


class Kept(Generic[K, V]):
    """Values by key, collected on demand by one thread at a time. Keys must be few: nothing is ever dropped."""

    def __init__(self, collect: Callable[[K], V], fresh_seconds: Callable[[K], float], *, parts: int = 1) -> None:
        """Keep what `collect` returns; `parts` is how many such share the time that collecting may take."""
        self._collect_value = collect
        self._parts = parts
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._entries: dict[K, _Entry[V]] = {}
        self._gates: dict[K, threading.Lock] = {}
        self._begun: dict[K, Future[V]] = {}
        self._generation = 0

    def get(self, key: K) -> V:
        """Return the value: a fresh one, or the last while a thread collects the next. Raises what collecting raises.

        A value is fresh for `fresh_seconds` at least, and for as long as COST_SHARE asks.
        """
        with self._lock:
            entry = self._shown(key)
        return entry.value if entry is not None else self._collect_once(key)

    def begin(self, key: K) -> None:
        """Have a thread collect the value, unless there is one that `get` would return or a thread is at it."""
        with self._lock:
            if self._shown(key) is None and key not in self._begun:
                begun = self._begun[key] = Future()
                threading.Thread(target=self._fill, args=(key, begun), name="figures", daemon=True).start()

    def find(self, key: K, *, patience_seconds: float) -> V | None:
        """Return what `get` would, or None when that takes longer: it is collected meanwhile, and a later call has it.

        Raises what collecting raised, once; the next call begins anew.
        """
        self.begin(key)
        with self._lock:
            entry, begun = self._shown(key), self._begun.get(key)
        if entry is not None or begun is None:
            return entry.value if entry is not None else None
        if not wait([begun], timeout=patience_seconds).done:
            return None
        with self._lock:
            if self._begun.get(key) is begun:
                del self._begun[key]
        return begun.result()

    def forget(self) -> None:
        """Collect anew at the next use; what is being collected now is not kept."""
        with self._lock:
            self._generation += 1
            self._entries.clear()
            self._begun.clear()

    def _shown(self, key: K) -> _Entry[V] | None:
        """Return the entry if it is young enough to be shown, and have it renewed when it is no longer fresh."""
        entry, age_seconds = self._find(key)
        if entry is None or age_seconds >= SHOWN_SECONDS + SHOWN_PER_COST * entry.cost_seconds:
            return None
        if age_seconds >= self._fresh_for(key, entry) and not entry.is_renewed:
            entry.is_renewed = True
            threading.Thread(target=self._renew, args=(key, entry), name="figures", daemon=True).start()
        return entry

    def _collect_once(self, key: K) -> V:
        """Collect, or return what another thread has just collected."""
        with self._lock:
            gate = self._gates.setdefault(key, threading.Lock())
        with gate:
            with self._lock:
                entry, age_seconds = self._find(key)
                if entry is not None and age_seconds < self._fresh_for(key, entry):
                    return entry.value
            return self._collect(key)

    def _find(self, key: K) -> tuple[_Entry[V] | None, float]:
        entry = self._entries.get(key)
        return entry, time.monotonic() - entry.collected_at if entry is not None else 0.0

    def _fresh_for(self, key: K, entry: _Entry[V]) -> float:
        return max(self._fresh_seconds(key), self._parts * entry.cost_seconds / COST_SHARE)

    def _collect(self, key: K) -> V:
        generation, begun = self._generation, time.monotonic()
        value = self._collect_value(key)
        ended = time.monotonic()
        with self._lock:
            if generation == self._generation:
                self._entries[key] = _Entry(value, ended, ended - begun)
        return value

    def _fill(self, key: K, begun: Future[V]) -> None:
        try:
            value = self._collect_once(key)
        except BaseException as error:
            # Whoever asks next is told, and so is the log of what nobody foresaw.
            begun.set_exception(error)
            if not isinstance(error, AnmeiError | SQLAlchemyError):
                raise
        else:
            with self._lock:
                if self._begun.get(key) is begun:
                    del self._begun[key]
            begun.set_result(value)

    def _renew(self, key: K, entry: _Entry[V]) -> None:
        try:
            self._collect(key)
        except (AnmeiError, SQLAlchemyError) as error:
            # The last value is shown until it is too old; then whoever looks is told what is wrong.
            log.warning("figures_not_renewed", key=str(key), error=type(error).__name__)
            entry.is_renewed = False
