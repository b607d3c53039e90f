"""Fixtures of all tests: one real PostgreSQL and one real Redis per session, empty at the start of every test."""

import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from xdist.workermanage import WorkerController

from tests.support.machine import Machine
from tests.support.servers import TestServers

_servers: TestServers | None = None
# Where several processes share the tests; by itself a process has the machine anyway.
_machine: Machine | None = None
_MACHINE = pytest.StashKey[str]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tell each process that is to run tests where all of them lock the machine."""
    if _MACHINE not in node.config.stash:
        node.config.stash[_MACHINE] = tempfile.mkdtemp(prefix="anmei-tests-")
    node.workerinput["machine"] = node.config.stash[_MACHINE]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Hold the machine for each test, around its fixtures and outside its time limit."""
    if _machine is None:
        return (yield)
    with _machine.held(alone=item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers before test modules are imported: whatever reads the settings at import finds them.

    Every process that runs tests has its own; one that only hands them out needs none.
    """
    global _machine, _servers
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        return
    if hasattr(session.config, "workerinput"):
        _machine = Machine(Path(session.config.workerinput["machine"]))
    _servers = TestServers()
    _servers.start()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _servers is not None:
        _servers.stop()
    if _MACHINE in session.config.stash:
        shutil.rmtree(session.config.stash[_MACHINE], ignore_errors=True)


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
