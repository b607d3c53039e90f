"""`anmei doctor`: looks at everything a stack needs and says, for each thing that is wrong, what to do."""

import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import psycopg
import redis
from pydantic import ValidationError

from core.crypto import UndecryptableError, decrypt
from core.database import unit_of_work
from core.logging import configure_logging
from core.settings import MissingSettingError, Settings, get_settings
from worker import embedded
from worker.embedded import EmbeddedServerError
from worker.launcher.errors import LaunchError
from worker.launcher.ports import is_free

LEAST_PYTHON = (3, 11)
LEAST_POSTGRES = 15
LEAST_FREE_BYTES = 1 << 30
WORKER_ANSWER_SECONDS = 1.5


class Verdict(StrEnum):
    OK = "ok"
    # Worth knowing; nothing is broken.
    NOTE = "note"
    WRONG = "wrong"


class Finding(NamedTuple):
    """What one check found; the remedy says what to do where something is wrong."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Doctor:
    """The checks, in the order in which one thing needs the other."""

    settings: Settings

    def examine(self) -> Iterator[Finding]:
        """Yield the findings one after the other; what needs a broken thing is left out."""
        yield self._python()
        yield from self._data_dir()
        yield self._secret_key()
        if not self._configured_or_running():
            yield from self._not_running()
            return
        database = list(self._database())
        yield from database
        yield from self._redis()
        broker = self._broker()
        yield broker
        if broker.verdict is Verdict.OK:
            yield from self._workers()
        if all(finding.verdict is Verdict.OK for finding in database):
            yield self._secrets()
            yield from self._agents()
        yield from self._doors()

    def _python(self) -> Finding:
        version = ".".join(map(str, sys.version_info[:3]))
        if sys.version_info < LEAST_PYTHON:
            return Finding("python", Verdict.WRONG, version, "install Python 3.11 or newer and remove .venv")
        return Finding("python", Verdict.OK, version)

    def _data_dir(self) -> Iterator[Finding]:
        path = self.settings.data_dir.absolute()
        try:
            embedded.prepare_data_directory(path)
            probe = path / ".doctor"
            probe.touch()
            probe.unlink()
        except OSError as error:
            remedy = "give the directory to this user, or set ANMEI_DATA_DIR to one that is writable"
            yield Finding("data directory", Verdict.WRONG, f"{path}: {error.strerror}", remedy)
            return
        yield Finding("data directory", Verdict.OK, str(path))
        free = shutil.disk_usage(path).free
        if free < LEAST_FREE_BYTES:
            remedy = "free some space, or set ANMEI_DATA_DIR to another disk"
            yield Finding("disk", Verdict.WRONG, f"{free / 2**20:.0f} MiB free", remedy)
        else:
            yield Finding("disk", Verdict.OK, f"{free / 2**30:.0f} GiB free")

    def _secret_key(self) -> Finding:
        if self.settings.secret_key is not None:
            return Finding("secret key", Verdict.OK, "from ANMEI_SECRET_KEY")
        path = self.settings.data_dir / "secret.key"
        if path.exists():
            return Finding("secret key", Verdict.OK, f"from {path}")
        return Finding("secret key", Verdict.NOTE, "none yet: the first start makes one in the data directory")

    def _configured_or_running(self) -> bool:
        return bool(self.settings.database_url and self.settings.broker_url) or bool(self.settings.running())

    def _not_running(self) -> Iterator[Finding]:
        """Tell whether a start would work."""
        from worker.embedded import accounts, postgres
        from worker.embedded import redis as embedded_redis

        yield Finding("stack", Verdict.NOTE, "none is running here", "start one with `anmei up`")
        cluster = self.settings.data_dir.absolute() / "postgres"
        for name, look in (
            ("embedded postgres", lambda: accounts.postgres_account(cluster, [cluster, postgres.binaries()])),
            ("embedded redis", embedded_redis.binary),
        ):
            try:
                look()
            except EmbeddedServerError as error:
                yield Finding(name, Verdict.WRONG, "cannot be started", str(error))
            else:
                yield Finding(name, Verdict.OK, "can be started")
        for name, port in self._ports().items():
            yield self._free_port(name, port)

    def _ports(self) -> dict[str, int]:
        settings = self.settings
        return {
            "api": settings.api_port,
            "mcp": settings.mcp_port,
            "flower": settings.flower_port,
            "metrics": settings.metrics_port,
        }

    def _free_port(self, name: str, port: int) -> Finding:
        try:
            free = is_free(self.settings.bind, port)
        except LaunchError as error:
            return Finding(f"port {name}", Verdict.WRONG, str(port), str(error))
        if free:
            return Finding(f"port {name}", Verdict.OK, f"{port} is free")
        return Finding(f"port {name}", Verdict.NOTE, f"{port} is taken: `anmei up` would take the next free one")

    def _database(self) -> Iterator[Finding]:
        url = self.settings.require_database_url().replace("postgresql+psycopg://", "postgresql://")
        try:
            with psycopg.connect(url, connect_timeout=3) as connection:
                version = connection.info.server_version // 10_000
        except psycopg.Error as error:
            remedy = "start PostgreSQL or mend ANMEI_DATABASE_URL; a stack killed hard is mended by `anmei up`"
            yield Finding("database", Verdict.WRONG, str(error).strip().splitlines()[0], remedy)
            return
        if version < LEAST_POSTGRES:
            yield Finding(
                "database", Verdict.WRONG, f"PostgreSQL {version}", f"use PostgreSQL {LEAST_POSTGRES} or newer"
            )
            return
        yield Finding("database", Verdict.OK, f"PostgreSQL {version}")
        yield self._migrations(url)

    def _migrations(self, url: str) -> Finding:
        import migrations

        with psycopg.connect(url, connect_timeout=3) as connection:
            exists = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
            row = (
                connection.execute("SELECT version_num FROM alembic_version").fetchone()
                if exists and exists[0]
                else None
            )
        current = row[0] if row else None
        problem = migrations.schema_problem(current)
        if problem is None:
            return Finding("migrations", Verdict.OK, f"at {current}")
        return Finding("migrations", Verdict.WRONG, problem, "run `anmei migrate`")

    def _redis(self) -> Iterator[Finding]:
        try:
            url = self.settings.require_redis_url()
        except MissingSettingError as error:
            yield Finding("redis", Verdict.WRONG, "not configured", str(error))
            return
        try:
            with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
                policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
        # The last two for a URL that says something it does not know.
        except (redis.RedisError, ValueError, TypeError) as error:
            remedy = "start Redis or mend ANMEI_REDIS_URL / ANMEI_BROKER_URL"
            yield Finding("redis", Verdict.WRONG, str(error), remedy)
            return
        if policy not in (None, "noeviction"):
            remedy = "set maxmemory-policy noeviction: a broker must refuse what does not fit, not forget what it holds"
            yield Finding("redis", Verdict.WRONG, f"may forget what it holds ({policy})", remedy)
        else:
            yield Finding("redis", Verdict.OK, "answers")

    def _broker(self) -> Finding:
        from worker.app import app

        url = self.settings.require_broker_url()
        try:
            with app.connection_for_write(connect_timeout=3) as connection:
                connection.ensure_connection(max_retries=1, timeout=4)
        except (OSError, *app.connection_for_write().connection_errors) as error:
            return Finding("broker", Verdict.WRONG, str(error), "start the broker or mend ANMEI_BROKER_URL")
        return Finding("broker", Verdict.OK, url.split("://")[0])

    def _workers(self) -> Iterator[Finding]:
        from services.journey_plan import Queue
        from worker.app import app

        answers = app.control.inspect(timeout=WORKER_ANSWER_SECONDS).active_queues() or {}
        served = {queue["name"] for queues in answers.values() for queue in queues}
        for queue in Queue:
            if queue.value in served:
                yield Finding(f"worker {queue.value}", Verdict.OK, "answers")
            else:
                remedy = f"start one: `anmei worker --queues {queue.value}`"
                yield Finding(f"worker {queue.value}", Verdict.WRONG, "no worker answers for this queue", remedy)

    def _secrets(self) -> Finding:
        from models import Base
        from queries.seed import list_encrypted
        from services.secret_rotation import encrypted_columns

        count = 0
        with unit_of_work() as session:
            for table, column in encrypted_columns(Base.metadata):
                for _, token in list_encrypted(session, table, column):
                    try:
                        decrypt(token)
                    except UndecryptableError:
                        detail = f"{table.name}.{column.name} holds one under another key"
                        remedy = "set ANMEI_SECRET_KEY to the key it was stored under (`new,old` while rotating)"
                        return Finding("secrets", Verdict.WRONG, detail, remedy)
                    count += 1
        return Finding("secrets", Verdict.OK, f"{count} can be decrypted")

    def _agents(self) -> Iterator[Finding]:
        from clients import agents as agent_client
        from core.errors import AnmeiError
        from services import agents

        known = agents.known()
        if not known:
            remedy = "add one in the web UI or with POST /api/v1/agents; until then everybody gets the template"
            yield Finding("agents", Verdict.NOTE, "none is enabled", remedy)
        for agent in known:
            name = f"agent {agent.name}"
            try:
                info = agent_client.info(agent.target).result(timeout=10)
            except (AnmeiError, TimeoutError) as error:
                remedy = "check its address and key; meanwhile the template is sent"
                yield Finding(name, Verdict.WRONG, str(error) or type(error).__name__, remedy)
            else:
                yield Finding(name, Verdict.OK, f"{info.name} answers")

    def _doors(self) -> Iterator[Finding]:
        import httpx

        running = self.settings.running()
        if not running:
            return
        for name, url in (
            ("api", f"{running['api_url']}/readyz"),
            ("mcp", running["mcp_url"].removesuffix("/mcp") + "/healthz"),
            ("flower", f"{running['flower_url']}/healthcheck"),
        ):
            try:
                answer = httpx.get(url, timeout=5, trust_env=False)
            except httpx.HTTPError as error:
                yield Finding(
                    name, Verdict.WRONG, f"{url}: {type(error).__name__}", "see the launcher's output; restart it"
                )
            else:
                verdict = Verdict.OK if answer.is_success else Verdict.WRONG
                yield Finding(
                    name, verdict, f"{url}: {answer.status_code}", "" if answer.is_success else answer.text[:200]
                )


def examine() -> Iterator[Finding]:
    """Yield what every check finds, beginning with whether the settings can be read at all."""
    try:
        settings = get_settings()
    except ValidationError as error:
        for problem in error.errors():
            variable = "ANMEI_" + "_".join(map(str, problem["loc"])).upper()
            yield Finding("settings", Verdict.WRONG, f"{variable}: {problem['msg']}", f"mend or unset {variable}")
        return
    yield Finding("settings", Verdict.OK, "readable")
    configure_logging("doctor")
    # The findings say it in their own words.
    logging.getLogger().setLevel(logging.CRITICAL)
    yield from Doctor(settings).examine()
