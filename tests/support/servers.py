"""The test session's own PostgreSQL and Redis, and what makes them clean again between tests."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

import psycopg
import redis

from worker.embedded import Embedded, prepare


class TestServers:
    """Servers in a temporary data directory, named by the environment as in production. Not durable, so fast."""

    __test__ = False

    def __init__(self) -> None:
        self.data_dir = Path(tempfile.mkdtemp(prefix="anmei-tests-"))
        # PostgreSQL's own account has to pass when the tests run as root.
        self.data_dir.chmod(0o711)
        self._embedded: Embedded = prepare(self.data_dir, durable=False)

    def start(self) -> None:
        """Start and migrate; from here on core.settings finds them."""
        self._embedded.__enter__()
        for name in [name for name in os.environ if name.startswith(("ANMEI_", "SIM_"))]:
            del os.environ[name]
        os.environ |= {
            "ANMEI_DATA_DIR": str(self.data_dir),
            "ANMEI_DATABASE_URL": self.database_url,
            "ANMEI_BROKER_URL": self.broker_url,
            "ANMEI_SECRET_KEY": "the-key-of-the-tests",
        }
        from core.settings import get_settings

        get_settings.cache_clear()
        import migrations

        migrations.upgrade()
        # Autocommit and no pool: the cleaning must not depend on what is under test.
        self._connection = psycopg.connect(self.database_url, autocommit=True)
        listed = self._connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition AND relname <> 'alembic_version'"
        )
        self._tables = [str(row[0]) for row in listed]
        # Rows go in any order, without foreign keys or triggers having a say.
        self._connection.execute("SET session_replication_role = replica")
        self._connection.execute("SET lock_timeout = '10s'")
        self.redis = redis.Redis.from_url(self.redis_url)

    @property
    def database_url(self) -> str:
        assert self._embedded.database_url
        return self._embedded.database_url

    @property
    def broker_url(self) -> str:
        assert self._embedded.broker_url
        return self._embedded.broker_url

    @property
    def redis_url(self) -> str:
        return "unix://" + self.broker_url.removeprefix("redis+socket://")

    def clean(self) -> None:
        """Empty every table that holds a row, Redis, and what this process remembers of either."""
        probes = " UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in self._tables)
        dirty = [str(row[0]) for row in self._connection.execute(probes)]
        if dirty:
            self._connection.execute("; ".join(f"DELETE FROM {table}" for table in dirty))
            from core.snapshots import forget_all

            forget_all()
        if self.redis.dbsize():
            self.redis.flushall()

    def stop(self) -> None:
        import structlog

        from core import database

        # Threads that outlive the servers complain of it until the process ends.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        database.dispose()
        self.redis.close()
        self._connection.close()
        self._embedded.__exit__(None, None, None)
        shutil.rmtree(self.data_dir, ignore_errors=True)
