"""Figures that cost something to collect, kept for everybody who looks: nobody waits for what another has just collected."""

import threading
import time
from collections.abc import Callable, Hashable
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

    def __init__(self, collect: Callable[[K], V], fresh_seconds: Callable[[K], float]) -> None:
        self._collect_value = collect
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._entries: dict[K, _Entry[V]] = {}
        self._gates: dict[K, threading.Lock] = {}
        self._generation = 0

    def get(self, key: K) -> V:
        """Return the value: a fresh one, or the last while a thread collects the next. Raises what collecting raises.

        A value is fresh for `fresh_seconds` at least, and for as long as COST_SHARE asks.
        """
        with self._lock:
            entry, age_seconds = self._find(key)
            if entry is not None and age_seconds < SHOWN_SECONDS + SHOWN_PER_COST * entry.cost_seconds:
                if age_seconds >= self._fresh_for(key, entry) and not entry.is_renewed:
                    entry.is_renewed = True
                    threading.Thread(target=self._renew, args=(key, entry), name="figures", daemon=True).start()
                return entry.value
            gate = self._gates.setdefault(key, threading.Lock())
        with gate:
            with self._lock:
                entry, age_seconds = self._find(key)
                if entry is not None and age_seconds < self._fresh_for(key, entry):
                    return entry.value
            return self._collect(key)

    def forget(self) -> None:
        """Collect anew at the next use; what is being collected now is not kept."""
        with self._lock:
            self._generation += 1
            self._entries.clear()

    def _find(self, key: K) -> tuple[_Entry[V] | None, float]:
        entry = self._entries.get(key)
        return entry, time.monotonic() - entry.collected_at if entry is not None else 0.0

    def _fresh_for(self, key: K, entry: _Entry[V]) -> float:
        return max(self._fresh_seconds(key), entry.cost_seconds / COST_SHARE)

    def _collect(self, key: K) -> V:
        generation, begun = self._generation, time.monotonic()
        value = self._collect_value(key)
        ended = time.monotonic()
        with self._lock:
            if generation == self._generation:
                self._entries[key] = _Entry(value, ended, ended - begun)
        return value

    def _renew(self, key: K, entry: _Entry[V]) -> None:
        try:
            self._collect(key)
        except (AnmeiError, SQLAlchemyError) as error:
            # The last value is shown until it is too old; then whoever looks is told what is wrong.
            log.warning("figures_not_renewed", key=str(key), error=type(error).__name__)
            entry.is_renewed = False
