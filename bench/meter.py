"""What a run cost: CPU by process role, memory, PostgreSQL's log and transactions, Redis commands, and what others took."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from bench.arithmetic import difference


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment; only differences of two mean anything."""

    at: float
    cpu_seconds: dict[str, float]
    machine_busy_seconds: float
    wal_bytes: int
    transactions: int
    redis_commands: dict[str, float]


@dataclass(frozen=True, slots=True)
class Cost:
    """What happened between two readings."""

    seconds: float
    cpu_seconds: dict[str, float]
    machine_busy_seconds: float
    wal_bytes: int
    transactions: int
    redis_commands: dict[str, float]


class Meter:
    """Reads the counters of these process trees and servers."""

    def __init__(self, pids: Mapping[str, int], database_url: str, redis_url: str | None) -> None:
        self._pids = dict(pids)
        self._postgres = psycopg.connect(database_url, autocommit=True)
        self._redis = redis.Redis.from_url(redis_url) if redis_url else None

    def close(self) -> None:
        self._postgres.close()
        if self._redis is not None:
            self._redis.close()

    def read(self) -> Reading:
        # Transaction ids are given to writing transactions only and at once; pg_stat_database.xact_commit counts every SELECT
        # and lags by seconds.
        row = self._postgres.execute(
            "SELECT pg_current_wal_insert_lsn() - '0/0', pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        ).fetchone()
        assert row is not None
        return Reading(
            at=time.time(),
            cpu_seconds={role: tree_cpu_seconds(pid) for role, pid in self._pids.items()},
            machine_busy_seconds=_machine_busy_seconds(),
            wal_bytes=int(row[0]),
            transactions=int(row[1]),
            redis_commands=self._redis_commands(),
        )

    def cost(self, before: Reading) -> Cost:
        """Return what happened since then."""
        after = self.read()
        commands = difference(after.redis_commands, before.redis_commands)
        return Cost(
            seconds=after.at - before.at,
            cpu_seconds=difference(after.cpu_seconds, before.cpu_seconds),
            machine_busy_seconds=after.machine_busy_seconds - before.machine_busy_seconds,
            wal_bytes=after.wal_bytes - before.wal_bytes,
            transactions=after.transactions - before.transactions,
            redis_commands={name: calls for name, calls in commands.items() if calls},
        )

    def memory_mb(self) -> dict[str, dict[str, float]]:
        """Return by role the peak resident memory (summed over its processes) and the proportional share it holds now."""
        return {role: tree_memory_mb(pid) for role, pid in self._pids.items()}

    def _redis_commands(self) -> dict[str, float]:
        if self._redis is None:
            return {}
        stats = self._redis.info("commandstats")
        assert isinstance(stats, dict)
        # Reading is a command too, and not the contestant's.
        return {
            name.removeprefix("cmdstat_"): float(one["calls"])
            for name, one in stats.items()
            if name.removeprefix("cmdstat_") not in ("info", "client|setinfo", "client", "hello")
        }


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, as far as they still run."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all its descendants, those that ended included once they were waited for."""
    total = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def tree_memory_mb(pid: int) -> dict[str, float]:
    peak = share = 0.0
    for process in tree(pid):
        peak += _status_kilobytes(process.pid, "status", "VmHWM:") / 1024
        share += _status_kilobytes(process.pid, "smaps_rollup", "Pss:") / 1024
    return {"peak_rss": round(peak, 1), "pss": round(share, 1)}


def _status_kilobytes(pid: int, file: str, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        # It ended, or the system has no such file: then there is nothing to add.
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def _machine_busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))


def others_share(cost: Cost, *, also_ours: float) -> float:
    """Return which share of the machine's CPU time others took: all that was busy less what the run accounts for."""
    ours = sum(cost.cpu_seconds.values()) + also_ours
    capacity = cost.seconds * (os.cpu_count() or 1)
    return max(0.0, (cost.machine_busy_seconds - ours) / capacity) if capacity else 0.0
