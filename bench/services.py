"""Contestants that are served over HTTP: how each is started, and where its record says how far its journeys are."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from bench.peers.accept import PATH as PEER_PATH
from bench.processes import Processes, answers, free_port
from bench.servers import Servers
from bench.sizes import CONSULTANTS
from worker.launcher.plan import AGENT_WORKER, JOURNEY_WORKER
from worker.launcher.roles import READY_LINE

# What a plain chain or actor needs for an agent of a second at 50/s: a slot for each call that is under way.
SLOW_SLOTS = 64
FAST_SLOTS = 8


@dataclass(frozen=True, slots=True)
class Record:
    """Statements over the journeys accepted since %(since)s: how many are finished, and when each part was done."""

    finished: str
    times: str


# Milliseconds from acceptance; when the journey was finished, in seconds since the epoch; whether an agent's text came first.
PRODUCT_RECORD = Record(
    finished="SELECT count(*) FROM journeys WHERE accepted_at >= to_timestamp(%(since)s) AND finished_at IS NOT NULL",
    times="""SELECT extract(epoch FROM conversation_at - accepted_at)::float8 * 1000,
                    extract(epoch FROM greeted_at - accepted_at)::float8 * 1000,
                    extract(epoch FROM finished_at - accepted_at)::float8 * 1000, extract(epoch FROM finished_at)::float8,
                    greeted_by = 'agent'
             FROM journeys WHERE accepted_at >= to_timestamp(%(since)s)""",
)
PEER_RECORD = Record(
    finished=f"SELECT count(*) / {CONSULTANTS} FROM notifications WHERE created_at >= to_timestamp(%(since)s)",
    times="""SELECT extract(epoch FROM v.created_at - j.accepted_at)::float8 * 1000,
                    extract(epoch FROM m.created_at - j.accepted_at)::float8 * 1000,
                    extract(epoch FROM n.at - j.accepted_at)::float8 * 1000, extract(epoch FROM n.at)::float8,
                    m.id IS NOT NULL
             FROM journeys j
             LEFT JOIN conversations v ON v.journey_id = j.id
             LEFT JOIN messages m ON m.journey_id = j.id
             LEFT JOIN LATERAL (SELECT max(created_at) AS at FROM notifications WHERE journey_id = j.id) n ON true
             WHERE j.accepted_at >= to_timestamp(%(since)s)""",
)
ACCEPT_RECORD = Record(
    finished="SELECT count(*) FROM journeys WHERE accepted_at >= to_timestamp(%(since)s)",
    times="""SELECT NULL, NULL, NULL, extract(epoch FROM accepted_at)::float8, NULL
             FROM journeys WHERE accepted_at >= to_timestamp(%(since)s)""",
)


@dataclass(frozen=True, slots=True)
class Service:
    """One contestant that is up."""

    port: int
    path: str
    secret: str | None
    record: Record
    pids: dict[str, int]
    database_url: str


# Starts a contestant on a fresh database; the second argument is the webhook's secret, which peers do not use.
Opening = Callable[[Servers, str], AbstractContextManager[Service]]


def _environment(servers: Servers, database: str) -> dict[str, object]:
    return {
        "ANMEI_DATA_DIR": servers.folder,
        "ANMEI_DATABASE_URL": servers.fresh_database(database),
        "ANMEI_BROKER_URL": servers.broker_url,
        "ANMEI_REDIS_URL": servers.redis_url,
        "ANMEI_LOG_FORMAT": "json",
        "ANMEI_FAULTS": None,
    }


@contextmanager
def product(servers: Servers, secret: str, *, workers: int = 1) -> Iterator[Service]:
    """The product with the processes and pools that `anmei up` starts, less what has no part in it (MCP, Flower).

    With `workers`, so many processes of each kind of worker.
    """
    port = free_port()
    environment = _environment(servers, "product") | {"ANMEI_API_PORT": port, "ANMEI_METRICS_PORT": free_port()}
    with Processes(servers.folder, environment) as processes:
        processes.start("api", "-m", "worker.cli", "api")
        names = {
            f"{name}{number or ''}": options
            for name, options in (("worker", JOURNEY_WORKER), ("agents", AGENT_WORKER))
            for number in range(workers)
        }
        for name, options in names.items():
            processes.start(name, "-m", "worker.cli", "worker", *options, "--announce")
        processes.start("beat", "-m", "worker.cli", "beat")
        processes.wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "the product's API")
        for name in names:
            processes.wait_for_line(name, READY_LINE)
        url = str(environment["ANMEI_DATABASE_URL"])
        yield Service(port, "/hooks/registrations", secret, PRODUCT_RECORD, processes.pids(), url)


def celery_chain(slots: int) -> Opening:
    """The plain chain with so many prefork children."""
    command = ("-m", "celery", "-A", "bench.peers.celery_chain", "worker", "--pool", "prefork", "--loglevel", "INFO")
    return _peer("celery", (*command, "--concurrency", str(slots), "--without-mingle", "--without-gossip"), " ready.")


def dramatiq_actors(slots: int) -> Opening:
    """dramatiq with two processes, the slots shared between them as threads."""
    command = ("-m", "dramatiq", "bench.peers.dramatiq_actors", "--processes", "2", "--threads", str(slots // 2))
    return _peer("dramatiq", command, "Worker process is ready for action.")


def bare_accept() -> Opening:
    """A FastAPI insert and nothing after it: what the webhook's answer is compared with."""
    return _peer("none", None, "")


def _peer(engine: str, worker: tuple[str, ...] | None, ready: str) -> Opening:
    @contextmanager
    def start(servers: Servers, _secret: str) -> Iterator[Service]:
        port = free_port()
        environment = _environment(servers, f"peer_{engine}")
        with Processes(servers.folder, environment) as processes:
            processes.start(f"{engine}-api", "-m", "bench.peers.accept", engine, str(port))
            if worker is not None:
                processes.start(f"{engine}-worker", *worker)
                processes.wait_for_line(f"{engine}-worker", ready)
            processes.wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), f"{engine}'s API")
            record = PEER_RECORD if worker is not None else ACCEPT_RECORD
            yield Service(port, PEER_PATH, None, record, processes.pids(), str(environment["ANMEI_DATABASE_URL"]))

    return start


def has_dramatiq() -> bool:
    """Tell whether the dependency group `bench` is installed."""
    return find_spec("dramatiq") is not None
