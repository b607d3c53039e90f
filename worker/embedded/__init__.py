"""Embedded PostgreSQL and Redis: real servers from wheels, on unix sockets, owned by the process that starts them."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.embedded import accounts, postgres, redis
from worker.embedded.errors import EmbeddedServerError
from worker.embedded.server import Server
from worker.embedded.sockets import make_socket_directory, remove_socket_directory

__all__ = [
    "Embedded",
    "EmbeddedServerError",
    "Server",
    "make_socket_directory",
    "prepare",
    "prepare_data_directory",
    "remove_socket_directory",
]


def prepare_data_directory(data_dir: Path) -> None:
    """Create the data directory, closed to others as far as PostgreSQL's own account allows."""
    if data_dir.exists():
        return
    data_dir.mkdir(parents=True, mode=0o700)
    if accounts.is_root():
        data_dir.chmod(0o711)


def prepare(
    data_dir: Path,
    *,
    with_postgres: bool = True,
    with_redis: bool = True,
    durable: bool = True,
    socket_directory: Path | None = None,
) -> "Embedded":
    """Return the embedded servers of a data directory, ready to be started. Raises EmbeddedServerError with a remedy.

    A socket directory that was passed in stays the caller's to remove when this raises.
    """
    prepare_data_directory(data_dir)
    embedded = Embedded(socket_directory or make_socket_directory())
    try:
        if with_postgres:
            account = accounts.postgres_account(data_dir / "postgres", [data_dir / "postgres", postgres.binaries()])
            embedded.postgres = postgres.prepare(data_dir, embedded.socket_directory, account=account, durable=durable)
        if with_redis:
            embedded.redis = redis.prepare(data_dir, embedded.socket_directory, durable=durable)
    except BaseException:
        if socket_directory is None:
            embedded.remove_sockets()
        raise
    return embedded


@dataclass
class Embedded:
    """The servers of one run. As a context manager it starts them, waits until they serve, and stops them at the end."""

    socket_directory: Path
    postgres: Server | None = None
    redis: Server | None = None
    _children: list[tuple[Server, subprocess.Popen[bytes]]] = field(default_factory=list)

    @property
    def servers(self) -> list[Server]:
        """The servers in the order they are started."""
        return [server for server in (self.postgres, self.redis) if server is not None]

    @property
    def database_url(self) -> str | None:
        return self.postgres.url if self.postgres else None

    @property
    def broker_url(self) -> str | None:
        return self.redis.url if self.redis else None

    def create_database(self) -> None:
        """Create our database on the ready PostgreSQL unless it exists."""
        if self.postgres is not None:
            postgres.create_database(self.postgres)

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                self._children.append((server, server.start()))
            for server, child in self._children:
                server.wait_until_ready(child)
            self.create_database()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        for server, child in reversed(self._children):
            server.stop(child)
        self._children.clear()
        self.remove_sockets()

    def remove_sockets(self) -> None:
        """Remove the run's socket directory. Removing it twice is fine."""
        remove_socket_directory(self.socket_directory)
