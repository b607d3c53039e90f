"""The stack under test: real servers, real processes, three consultants with push channels, an agent of any mood."""

import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
import psycopg

from bench.processes import answers, free_port
from tests.faults.brokers import Broker
from tests.faults.processes import ROOT, Role, Supervisor
from tests.support.waiting import START_SECONDS, wait_until
from worker.embedded import make_socket_directory, remove_socket_directory
from worker.embedded import postgres as embedded_postgres
from worker.embedded.accounts import is_root, postgres_account
from worker.embedded.server import Server

AGENT_KEY = "app-faults"
SECRET_KEY = "the-key-of-the-fault-suite"
CONSULTANTS = 3
CELERY = ("-m", "worker.cli", "worker")


class Stack:
    """One stack, started on entry and gone on exit. `faults` arms fault points by role name."""

    def __init__(
        self,
        broker: type[Broker] | object,
        *,
        faults: dict[str, str] | None = None,
        environment: dict[str, dict[str, str]] | None = None,
        agent_arguments: tuple[str, ...] = ("--latency-scale", "0", "--no-mcp"),
        retry_delays: str = "[0.5, 1, 2]",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="anmei-faults-"))
        self.folder.chmod(0o711 if is_root() else 0o700)
        self._sockets = make_socket_directory()
        account = postgres_account(self.folder / "postgres", [self.folder / "postgres", embedded_postgres.binaries()])
        self._postgres: Server = embedded_postgres.prepare(self.folder, self._sockets, account=account, durable=True)
        self._postgres_child: subprocess.Popen[bytes] | None = None
        self.broker: Broker = broker(self.folder)  # type: ignore[operator]
        self._faults = faults or {}
        self._environment = environment or {}
        self._agent_arguments = agent_arguments
        self._retry_delays = retry_delays
        self.supervisor = Supervisor()
        self.database_url = self._postgres.url

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            # A stack that came up half-way goes down whole.
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        self.start_postgres()
        embedded_postgres.create_database(self._postgres)
        self.broker.start()
        self.agent_port, self.push_port, self.api_port = (free_port() for _ in range(3))
        self._run("-m", "worker.cli", "migrate")
        self._seed()
        self.supervisor.start(self._roles())
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        wait_until(lambda: answers(f"{self.api_url}/readyz"), timeout_seconds=START_SECONDS, poll_seconds=0.1)
        for port in (self.agent_port, self.push_port):
            wait_until(
                lambda port=port: answers(f"http://127.0.0.1:{port}/__sim__/health"), timeout_seconds=START_SECONDS
            )
        wait_until(lambda: self.scalar("SELECT count(*) FROM worker_heartbeats") == 2, timeout_seconds=60)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.supervisor.stop()
        self.broker.stop()
        if self._postgres_child is not None and self._postgres_child.poll() is None:
            self._postgres.stop(self._postgres_child)
        remove_socket_directory(self._sockets)

    def start_postgres(self) -> None:
        self._postgres_child = self._postgres.start()
        self._postgres.wait_until_ready(self._postgres_child)

    def restart_postgres(self) -> None:
        """A fast shutdown, as an administrator's restart does it."""
        assert self._postgres_child is not None
        self._postgres.stop(self._postgres_child)
        self.start_postgres()

    def kill_postgres(self) -> None:
        """SIGKILL to the server and its backends; it recovers from its log."""
        assert self._postgres_child is not None
        below = psutil.Process(self._postgres_child.pid)
        for process in [below, *below.children(recursive=True)]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._postgres_child.wait(5)
        self.start_postgres()

    def scalar(self, sql: str) -> object:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            row = connection.execute(sql).fetchone()
            return row[0] if row else None

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(sql)

    def agent_fault(self, kind: str, **parameters: object) -> None:
        url = f"http://127.0.0.1:{self.agent_port}/__sim__/faults"
        httpx.post(url, json={"kind": kind, **parameters}, timeout=5).raise_for_status()

    def clear_agent_faults(self) -> None:
        httpx.delete(f"http://127.0.0.1:{self.agent_port}/__sim__/faults", timeout=5).raise_for_status()

    def push_keys(self) -> list[str]:
        """Return the idempotency key of every push that was received."""
        received = httpx.get(f"http://127.0.0.1:{self.push_port}/__sim__/received", timeout=20).json()["received"]
        return [one["idempotency_key"] for one in received]

    def tail(self, role: str, lines: int = 30) -> str:
        return "\n".join((self.folder / f"{role}.log").read_text(errors="replace").splitlines()[-lines:])

    def base_environment(self) -> dict[str, str]:
        return {
            "ANMEI_DATA_DIR": str(self.folder),
            "ANMEI_DATABASE_URL": self.database_url,
            "ANMEI_BROKER_URL": self.broker.url,
            "ANMEI_REDIS_URL": self.broker.redis_url,
            "ANMEI_SECRET_KEY": SECRET_KEY,
            "ANMEI_API_PORT": str(self.api_port),
            "ANMEI_LOG_FORMAT": "json",
            "ANMEI_FAULTS": "",
        }

    def _roles(self) -> list[Role]:
        journeys = (
            *CELERY,
            "--queues",
            "journeys,notifications,maintenance",
            "--pool",
            "prefork",
            "--concurrency",
            "2",
        )
        agents = (*CELERY, "--queues", "agents", "--pool", "threads", "--concurrency", "256")
        agent = (
            "-m",
            "simulators.dify",
            "--port",
            str(self.agent_port),
            "--app-key",
            AGENT_KEY,
            *self._agent_arguments,
        )
        # A metrics port of its own for each: two candidates for the sweep on one machine.
        return [
            self._role("agent", agent),
            self._role("push", ("-m", "simulators.push", "--port", str(self.push_port))),
            self._role("api", ("-m", "worker.cli", "api")),
            self._role("worker", journeys),
            self._role("agents", agents),
            self._role("beat1", ("-m", "worker.cli", "beat"), ANMEI_METRICS_PORT=str(free_port())),
            self._role("beat2", ("-m", "worker.cli", "beat"), ANMEI_METRICS_PORT=str(free_port())),
        ]

    def _role(self, name: str, command: tuple[str, ...], **more: str) -> Role:
        environment = {**self.base_environment(), **more, **self._environment.get(name, {})}
        if name in self._faults:
            environment["ANMEI_FAULTS"] = self._faults[name]
        return Role(name, command, environment, self.folder / f"{name}.log")

    def _seed(self) -> None:
        self._run(
            "-m",
            "tests.faults.seed",
            f"http://127.0.0.1:{self.agent_port}/v1",
            AGENT_KEY,
            f"http://127.0.0.1:{self.push_port}/push",
            str(CONSULTANTS),
            self._retry_delays,
        )
        self.webhook_secret = (self.folder / "webhook_secret").read_text()

    def _run(self, *command: str) -> None:
        import sys

        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **self.base_environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{command}: {done.stderr[-2000:]}")
