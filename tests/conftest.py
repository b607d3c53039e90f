"""Fixtures of all tests: one real PostgreSQL and one real Redis per session, empty at the start of every test."""

from collections.abc import Iterator

import pytest

from tests.support.servers import TestServers

_servers: TestServers | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers before test modules are imported: whatever reads the settings at import finds them.

    Every process that runs tests has its own; one that only hands them out needs none.
    """
    global _servers
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        return
    _servers = TestServers()
    _servers.start()


def pytest_sessionfinish() -> None:
    if _servers is not None:
        _servers.stop()


@pytest.fixture(scope="session")
def servers() -> TestServers:
    assert _servers is not None
    return _servers


@pytest.fixture(autouse=True)
def _empty_servers(servers: TestServers) -> Iterator[None]:
    yield
    servers.clean()


@pytest.fixture(scope="session")
def database(servers: TestServers) -> str:
    """The URL of the migrated database (postgresql://…); core.database is already pointed at it."""
    return servers.database_url


@pytest.fixture(scope="session")
def broker_url(servers: TestServers) -> str:
    """The broker's URL as Celery wants it (redis+socket://…)."""
    return servers.broker_url


@pytest.fixture(scope="session")
def redis_url(servers: TestServers) -> str:
    """The same Redis as redis-py wants it (unix://…)."""
    return servers.redis_url
