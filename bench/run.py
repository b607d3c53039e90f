"""One whole run: contestants taking turns, each measured in the same scenarios, the rounds gathered."""

import platform
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil

from bench import bare, services
from bench.arithmetic import medians
from bench.measuring import AGENT_ROLE, Bench, Figures
from bench.processes import ROOT, Processes, answers, free_port
from bench.seed import AGENT_KEY
from bench.servers import Servers
from bench.services import Opening
from bench.sizes import CONSULTANTS, SET_SIZE, OpenLoop, Sizes

PRODUCT = "product"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One engine under measurement: how it is started, how large its burst is, and which open loops it meets."""

    name: str
    open: Opening
    burst: int
    open_loops: tuple[OpenLoop, ...]


class Rounds:
    """What was measured so far: contestant → scenario → one set of figures a round."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))

    def add(self, contestant: str, scenario: str, figures: Figures) -> None:
        self.figures[contestant][scenario].append(figures)

    def as_dict(self) -> dict[str, Any]:
        """Return the median and spread of every figure, and the rounds they come from."""
        return {
            contestant: {
                scenario: {
                    "figures": {name: spread.as_dict() for name, spread in medians(rounds).items()},
                    "rounds": rounds,
                }
                for scenario, rounds in scenarios.items()
            }
            for contestant, scenarios in self.figures.items()
        }


def contestants(sizes: Sizes) -> list[Contestant]:
    """Return the contestants over HTTP, the product first. Peers meet slow agents with pools large enough to wait in."""
    fast = tuple(loop for loop in sizes.peer_open_loops if loop.agent_ms == 0)
    slow = tuple(loop for loop in sizes.peer_open_loops if loop.agent_ms > 0)
    peers: list[tuple[str, Callable[[int], Opening]]] = [("celery chain", services.celery_chain)]
    if services.has_dramatiq():
        peers.append(("dramatiq", services.dramatiq_actors))
    found = [Contestant(PRODUCT, services.product, sizes.burst, sizes.open_loops)]
    for name, opening in peers:
        found.append(Contestant(name, opening(services.FAST_SLOTS), sizes.peer_burst, fast))
        if slow:
            found.append(Contestant(f"{name}, {services.SLOW_SLOTS} slots", opening(services.SLOW_SLOTS), 0, slow))
    found.append(Contestant("bare FastAPI insert", services.bare_accept(), sizes.peer_burst, sizes.bare_open_loops))
    return found


def measure(sizes: Sizes, *, only: Sequence[str], say: Say) -> dict[str, Any]:
    """Measure everything and return the result as it is written to latest.json."""
    began_at, rounds = datetime.now(UTC), Rounds()
    load_before = psutil.getloadavg()
    with Servers() as servers, simulated_agent(servers) as (bench, secret):
        for number in range(sizes.passes):
            say(f"pass {number + 1} of {sizes.passes}")
            for contestant in contestants(sizes):
                if not only or contestant.name in only:
                    _measure_service(bench, contestant, sizes, secret, rounds, say)
            _measure_bare(bench, sizes, only, rounds, say)
        settings = servers.settings()
    return {
        "began_at": began_at.isoformat(timespec="seconds"),
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": _machine() | {"load_before": list(load_before)},
        "postgresql": settings,
        "contestants": rounds.as_dict(),
    }


def _measure_service(bench: Bench, contestant: Contestant, sizes: Sizes, secret: str, rounds: Rounds, say: Say) -> None:
    with contestant.open(bench.servers, secret) as service:
        bench.warm_up(service, sizes.warm_up)
        for _ in range(sizes.rounds):
            if contestant.burst:
                figures = bench.burst(service, contestant.burst)
                rounds.add(contestant.name, "burst", figures)
                say(_line(contestant.name, "burst", figures))
            for loop in contestant.open_loops:
                figures = bench.open_loop(service, loop)
                rounds.add(contestant.name, loop.name, figures)
                say(_line(contestant.name, loop.name, figures))


def _measure_bare(bench: Bench, sizes: Sizes, only: Sequence[str], rounds: Rounds, say: Say) -> None:
    floors = (("bare SQL", sizes.bare, 1), (f"sets of {SET_SIZE}", sizes.sets, SET_SIZE))
    for name, count, set_size in floors:
        if only and name not in only:
            continue
        for _ in range(sizes.rounds):
            figures = bare.measure(bench, count=count, set_size=set_size)
            rounds.add(name, "burst", figures)
            say(_line(name, "burst", figures))


@contextmanager
def simulated_agent(servers: Servers) -> Iterator[tuple[Bench, str]]:
    """The agent's simulator, in its fast mode and calling no tool, and a seeded template database that knows it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"ANMEI_DATA_DIR": servers.folder, "ANMEI_DATABASE_URL": servers.database_url()}
    environment |= {"ANMEI_BROKER_URL": servers.broker_url, "ANMEI_REDIS_URL": servers.redis_url}
    fast = ("--latency-scale", "0", "--no-mcp", "--app-key", AGENT_KEY)
    with Processes(servers.folder, environment) as processes:
        processes.start(AGENT_ROLE, "-m", "simulators.dify", "--port", str(port), *fast)
        processes.run("-m", "worker.cli", "migrate")
        secret = processes.run("-m", "bench.seed", f"{url}/v1", str(CONSULTANTS)).strip().splitlines()[-1]
        processes.wait_until(lambda: answers(f"{url}/__sim__/health"), "the agent's simulator")
        yield Bench(servers, processes.pids()[AGENT_ROLE], url), secret


def _line(name: str, scenario: str, figures: Figures) -> str:
    def shown(key: str, digits: int = 1) -> str:
        value = figures.get(key)
        return "-" if value is None else f"{value:.{digits}f}"

    return (
        f"  {name}, {scenario}: {shown('journeys_per_second', 0)}/s, CPU {shown('cpu_ms', 2)} ms, accept p50/p99 "
        f"{shown('accept_ms.p50')}/{shown('accept_ms.p99')} ms, welcome p50/p99 {shown('welcome_ms.p50')}/"
        f"{shown('welcome_ms.p99')} ms, others {100 * (figures.get('others_cpu_share') or 0):.0f} %"
    )


def _machine() -> dict[str, Any]:
    return {
        "cores": psutil.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "system": platform.system(),
        "release": platform.release(),
        "python": platform.python_version(),
    }


def _commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
