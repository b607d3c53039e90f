"""PostgreSQL and Redis as the product embeds them, durable, shared by all contestants; a fresh database for each."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import redis

from worker.embedded import Server, make_socket_directory, prepare_data_directory, remove_socket_directory
from worker.embedded import postgres as embedded_postgres
from worker.embedded import redis as embedded_redis
from worker.embedded.accounts import is_root, postgres_account

TEMPLATE = "anmei"
SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_connections")


class Servers:
    """Both servers in a folder of their own, started on entry and gone on exit."""

    def __init__(self, *, durable: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="anmei-bench-"))
        self.folder.chmod(0o711 if is_root() else 0o700)
        prepare_data_directory(self.folder)
        self._sockets = make_socket_directory()
        places = [self.folder / "postgres", embedded_postgres.binaries()]
        account = postgres_account(self.folder / "postgres", places)
        self._servers: dict[str, Server] = {
            "postgres": embedded_postgres.prepare(self.folder, self._sockets, account=account, durable=durable),
            "redis": embedded_redis.prepare(self.folder, self._sockets, durable=durable),
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        for name, server in self._servers.items():
            self._children[name] = server.start()
        for name, server in self._servers.items():
            server.wait_until_ready(self._children[name])
        embedded_postgres.create_database(self._servers["postgres"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, child in self._children.items():
            self._servers[name].stop(child)
        remove_socket_directory(self._sockets)
        if kind is None:
            # After a failure the logs in it are what is looked for.
            shutil.rmtree(self.folder)

    @property
    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    def database_url(self, database: str = TEMPLATE) -> str:
        return self._servers["postgres"].url.replace(f"/{TEMPLATE}?", f"/{database}?")

    @property
    def broker_url(self) -> str:
        return self._servers["redis"].url

    @property
    def redis_url(self) -> str:
        return self.broker_url.replace("redis+socket://", "unix://")

    def fresh_database(self, database: str) -> str:
        """Make a copy of the seeded template under this name, and empty Redis; return the database's URL."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {database} TEMPLATE {TEMPLATE}")
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()
        return self.database_url(database)

    def checkpoint(self) -> None:
        """Begin every measurement at the same point of PostgreSQL's log: with all pages written out."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def settings(self) -> dict[str, str]:
        """Return the settings that decide what a commit costs."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(SETTINGS),))
            return dict(rows.fetchall())
