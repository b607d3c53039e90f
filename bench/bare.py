"""Running bench.bare_sql: several processes, each with one connection, so that commits share their flushes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from bench.measuring import Bench, Figures, cost_figures
from bench.processes import ROOT, NotReadyError
from bench.reference import reference_ms
from core.settings import child_environment
from worker.processes import tied

# Twice the cores of a small machine: while one waits for its commit, another works.
PROCESSES = 4
_WARM_UP = 100


def measure(bench: Bench, *, count: int, set_size: int) -> Figures:
    """Take `count` journeys through the statements, `set_size` to a statement; return throughput and cost."""
    url = bench.servers.fresh_database("bare")
    with _clients(bench, url, count // PROCESSES, set_size) as clients:
        speed = reference_ms()
        bench.servers.checkpoint()
        meter = bench.meter({f"client{number}": one.pid for number, one in enumerate(clients)}, url)
        try:
            before = meter.read()
            for client in clients:
                _write(client, "go")
            times = [json.loads(_read(client)) for client in clients]
            cost = meter.cost(before)
        finally:
            meter.close()
    finished = _finished(url)
    seconds = max(one["ended_at"] for one in times) - min(one["began_at"] for one in times)
    figures = cost_figures(cost, count)
    figures["cpu_ms.client"] = sum(figures.pop(f"cpu_ms.client{number}", None) or 0.0 for number in range(PROCESSES))
    figures |= {
        "accepted": count,
        "unfinished": count + PROCESSES * _warm_up(set_size) - finished,
        "journeys_per_second": count / seconds,
        "reference_ms": (speed + reference_ms()) / 2,
    }
    return figures


@contextmanager
def _clients(bench: Bench, url: str, count: int, set_size: int) -> Iterator[list[subprocess.Popen[str]]]:
    environment = {"ANMEI_DATABASE_URL": url, "ANMEI_DATA_DIR": bench.servers.folder, "PYTHONPATH": ROOT}
    clients = [
        subprocess.Popen(
            tied([sys.executable, "-P", "-m", "bench.bare_sql"], death_signal=signal.SIGKILL),
            cwd=ROOT,
            env=child_environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for number, client in enumerate(clients):
            order = {"prefix": f"bare{number}", "count": count, "set_size": set_size, "warm_up": _warm_up(set_size)}
            _write(client, json.dumps(order))
        if any(_read(client) != "ready" for client in clients):
            raise NotReadyError("a client of the bare statements did not come up")
        yield clients
    finally:
        for client in clients:
            client.kill()
            client.wait()


def _warm_up(set_size: int) -> int:
    return max(_WARM_UP, 4 * set_size)


def _finished(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM journeys WHERE status = 'succeeded'").fetchone()
        return int(row[0]) if row else 0


def _write(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin is not None
    client.stdin.write(line + "\n")
    client.stdin.flush()


def _read(client: subprocess.Popen[str]) -> str:
    assert client.stdout is not None
    return client.stdout.readline().strip()
