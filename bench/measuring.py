"""One measured run of one contestant: load sent, work waited for, times read from the record, costs divided by journeys."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import httpx
import psycopg

from bench.arithmetic import per, percentile
from bench.load import LoadResult, LoadSpec
from bench.meter import Cost, Meter, others_share
from bench.processes import ROOT, NotReadyError
from bench.reference import reference_ms
from bench.seed import AGENT_KEY
from bench.servers import Servers
from bench.services import Service
from bench.sizes import CONNECTIONS, DRAIN_SECONDS, OpenLoop
from core.settings import child_environment
from worker.processes import tied

# Figures of one run by name; None where the contestant has no such figure.
Figures = dict[str, float | None]

AGENT_ROLE = "agent-simulator"
# Rare enough to cost the contestant's database nothing.
_POLL_SECONDS = 0.2


class Generator:
    """The load generator's process, from `ready` to its result."""

    def __init__(self, spec: LoadSpec) -> None:
        self._process = subprocess.Popen(
            tied([sys.executable, "-P", "-m", "bench.load"], death_signal=signal.SIGKILL),
            cwd=ROOT,
            env=child_environment({"PYTHONPATH": str(ROOT)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._write(json.dumps(asdict(spec)))
        if self._read() != "ready":
            raise NotReadyError("the load generator did not come up")

    def send(self) -> LoadResult:
        """Let it send everything; return what was answered."""
        self._write("go")
        result = LoadResult(**json.loads(self._read()))
        self._process.wait()
        return result

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Bench:
    """Measures services on these servers; the agent's simulator is everybody's, and counted apart."""

    def __init__(self, servers: Servers, agent_pid: int, agent_url: str) -> None:
        self.servers = servers
        self._agent_pid = agent_pid
        self._agent_url = agent_url
        self._runs = 0

    def warm_up(self, service: Service, count: int) -> None:
        """Have everything loaded, connected and prepared that a running system has."""
        self.set_agent_ms(0)
        self.burst(service, count)

    def burst(self, service: Service, count: int) -> Figures:
        """Closed loop: `count` registrations over CONNECTIONS connections, as fast as they are answered."""
        return self._measure(service, LoadSpec(service.port, service.path, self._prefix(), count, CONNECTIONS))

    def open_loop(self, service: Service, loop: OpenLoop) -> Figures:
        """Registrations on an even clock against an agent that takes so long."""
        self.set_agent_ms(loop.agent_ms)
        count = loop.per_second * loop.seconds
        spec = LoadSpec(service.port, service.path, self._prefix(), count, CONNECTIONS, per_second=loop.per_second)
        try:
            return self._measure(service, spec)
        finally:
            self.set_agent_ms(0)

    def set_agent_ms(self, milliseconds: int) -> None:
        body = {"app_key": AGENT_KEY, "fixed_latency_ms": float(milliseconds) or None}
        httpx.post(f"{self._agent_url}/__sim__/apps", json=body, timeout=10, trust_env=False).raise_for_status()

    def meter(self, pids: dict[str, int], database_url: str) -> Meter:
        roles = {**pids, **self.servers.pids, AGENT_ROLE: self._agent_pid}
        return Meter(roles, database_url, self.servers.redis_url)

    def _prefix(self) -> str:
        self._runs += 1
        return f"r{self._runs}"

    def _measure(self, service: Service, spec: LoadSpec) -> Figures:
        spec = LoadSpec(**{**asdict(spec), "secret": service.secret})
        generator = Generator(spec)
        speed = reference_ms()
        self.servers.checkpoint()
        meter = self.meter(service.pids, service.database_url)
        try:
            before = meter.read()
            load = generator.send()
            if not load.accept_ms:
                raise NotReadyError(f"none of {load.refused} registrations was accepted")
            finished = wait_until_finished(service, since=load.began_at, count=len(load.accept_ms))
            cost = meter.cost(before)
            memory = meter.memory_mb()
        finally:
            meter.close()
        figures = record_figures(service, load, finished=finished)
        figures |= cost_figures(cost, finished, generator_seconds=load.cpu_seconds)
        figures |= memory_figures(memory)
        figures["reference_ms"] = (speed + reference_ms()) / 2
        return figures


def wait_until_finished(service: Service, *, since: float, count: int) -> int:
    """Return how many journeys finished, once all did or DRAIN_SECONDS passed."""
    deadline = time.monotonic() + DRAIN_SECONDS
    finished = 0
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        while finished < count and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            row = connection.execute(service.record.finished, {"since": since}).fetchone()
            finished = int(row[0]) if row else 0
    return finished


def record_figures(service: Service, load: LoadResult, *, finished: int) -> Figures:
    """Return throughput and latencies: answers as the generator saw them, the rest as the record has it."""
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        rows = connection.execute(service.record.times, {"since": load.began_at}).fetchall()
    figures: Figures = {
        "accepted": len(load.accept_ms),
        "refused": load.refused,
        "unfinished": len(load.accept_ms) - finished,
        "generator_late_ms_max": load.late_ms_max,
    }
    figures |= _percentiles("accept_ms", load.accept_ms)
    for column, name in enumerate(("conversation_ms", "welcome_ms", "finished_ms")):
        figures |= _percentiles(name, [row[column] for row in rows if row[column] is not None])
    greeted = [row[4] for row in rows if row[4] is not None]
    figures["agent_share"] = sum(greeted) / len(greeted) if greeted else None
    ends = [row[3] for row in rows if row[3] is not None]
    seconds = max(ends) - load.began_at if ends else 0.0
    figures["journeys_per_second"] = len(ends) / seconds if seconds > 0 else None
    return figures


def cost_figures(cost: Cost, journeys: int, *, generator_seconds: float = 0.0) -> Figures:
    """Return what one journey cost; the agent's simulator and the load generator are not part of the sum."""
    outside = cost.cpu_seconds.get(AGENT_ROLE, 0.0)
    own = {role: seconds for role, seconds in cost.cpu_seconds.items() if role != AGENT_ROLE}
    figures: Figures = {"cpu_ms": sum(own.values()) * 1000 / journeys if journeys else None}
    figures |= {f"cpu_ms.{role}": value for role, value in per(own, journeys, factor=1000).items()}
    figures |= {f"redis.{name}": value for name, value in per(cost.redis_commands, journeys).items()}
    around: dict[str, float] = {
        "outside_cpu_ms.agent": outside * 1000,
        "outside_cpu_ms.generator": generator_seconds * 1000,
        "transactions": cost.transactions,
        "wal_bytes": cost.wal_bytes,
        "redis_commands": sum(cost.redis_commands.values()),
    }
    figures |= per(around, journeys)
    figures["others_cpu_share"] = others_share(cost, also_ours=generator_seconds)
    return figures


def memory_figures(memory: dict[str, dict[str, float]]) -> Figures:
    """Return the memory of the contestant's own processes together, and of each role; servers and simulator apart."""
    apart = {AGENT_ROLE, "postgres", "redis"}
    figures: Figures = {
        f"{kind}_mb": sum(one[kind] for role, one in memory.items() if role not in apart)
        for kind in ("peak_rss", "pss")
    }
    figures |= {f"pss_mb.{role}": one["pss"] for role, one in memory.items()}
    return figures


def _percentiles(name: str, samples: list[Any]) -> Figures:
    return {f"{name}.p50": percentile(samples, 0.50), f"{name}.p99": percentile(samples, 0.99)}
