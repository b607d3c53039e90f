"""Brokers under test: the embedded Redis, durable or not, and a RabbitMQ of Debian's package on ports of its own."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Protocol

import psutil
import redis

from bench.processes import free_port
from tests.support.waiting import wait_until
from worker.embedded import make_socket_directory, remove_socket_directory
from worker.embedded import redis as embedded_redis
from worker.embedded.server import Server

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Broker(Protocol):
    """What a fault may do to a broker."""

    url: str
    redis_url: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def empty(self) -> None: ...
    def stop(self) -> None: ...


class RedisBroker:
    """Redis on a unix socket; without durability it comes back empty."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._sockets = make_socket_directory()
        folder.mkdir(exist_ok=True)
        self._server: Server = embedded_redis.prepare(folder, self._sockets, durable=durable)
        self.url = self._server.url
        self.redis_url = "unix://" + self.url.removeprefix("redis+socket://")
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._child = self._server.start()
        self._server.wait_until_ready(self._child)

    def kill(self) -> None:
        assert self._child is not None
        # The server itself is the child that spawn() ties to us, or below it.
        for process in [psutil.Process(self._child.pid), *psutil.Process(self._child.pid).children(recursive=True)]:
            process.kill()
        self._child.wait(5)

    def empty(self) -> None:
        client = redis.Redis.from_url(self.redis_url)
        client.flushall()
        client.close()

    def stop(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._server.stop(self._child)
        remove_socket_directory(self._sockets)


class RabbitBroker:
    """RabbitMQ with quorum queues; its Redis beside it carries what is no broker's business (fan-out, limits)."""

    def __init__(self, folder: Path) -> None:
        self._redis = RedisBroker(folder / "redis", durable=False)
        self.redis_url = self._redis.redis_url
        self._folder = folder / "rabbitmq"
        self._folder.mkdir()
        self._port, distribution = free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        name = f"faults{os.getpid()}@localhost"
        self._environment = {
            **os.environ,
            "HOME": str(self._folder),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._child is None:
            self._redis.start()
        with (self._folder / "server.log").open("ab") as log:
            self._child = subprocess.Popen(
                [str(RABBITMQ)], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: _listens(self._port), timeout_seconds=60, poll_seconds=0.2)

    def kill(self) -> None:
        assert self._child is not None
        os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait(5)

    def empty(self) -> None:
        for queue in ("journeys", "agents", "notifications", "maintenance"):
            subprocess.run(
                ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "purge_queue", queue],
                env=self._environment,
                check=False,
                capture_output=True,
            )

    def stop(self) -> None:
        if self._child is not None:
            self.kill()
        self._redis.stop()
        for process in psutil.process_iter(["name", "environ"]):
            # epmd goes into a session of its own; it is ours by the port it was given.
            environment = process.info["environ"] or {}
            if environment.get("ERL_EPMD_PORT") == self._environment["ERL_EPMD_PORT"]:
                process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def rabbitmq_available() -> bool:
    return RABBITMQ.exists()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
