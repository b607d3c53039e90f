"""A seeded database and a running server for every test of MCP."""

from collections.abc import Iterator

import pytest

from models import Journey, User
from services import mcp_seed
from tests.mcp_server.support import Client, RunningServer, running
from tests.support.factories import create_journey, create_user


@pytest.fixture(autouse=True)
def _seeded(database: str) -> None:
    mcp_seed.ensure_seed()


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running() as started:
        yield started


@pytest.fixture
def agent(server: RunningServer) -> Client:
    """The welcome agent: a client with the key of customer_tools."""
    return server.client("customer_tools")


@pytest.fixture
def customer() -> User:
    return create_user(username="小美", email="mei@example.com", phone="+8613800001111", avatar="https://a/b.png")


@pytest.fixture
def journey(customer: User) -> Journey:
    return create_journey(user=customer)
