"""The application in this process, people who sign in, and API processes of their own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import settings
from pydantic import SecretStr
from starlette.testclient import TestClient

from core import passwords
from services import auth, users
from services.permissions import Role
from tests.api.processes import ApiProcess
from tests.support.factories import create_user
from tests.support.servers import TestServers

PASSWORD = SecretStr("a long enough password")

# For a run by hand of what is asked at random (`--hypothesis-profile long`).
settings.register_profile("long", max_examples=1000)


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> None:
    """Hash with the least work: what argon2 costs is not under test."""
    from argon2 import PasswordHasher

    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(scope="session")
def app(database: str) -> FastAPI:
    from api_hooks.app import create_app

    return create_app()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """An HTTP client of the application; what nobody expected is answered, not raised."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


class Person:
    """Somebody signed in: their tokens, and headers that carry them."""

    def __init__(self, user_id: Any, username: str, tokens: auth.Tokens) -> None:
        self.user_id = user_id
        self.username = username
        self.token = tokens.access_token.get_secret_value()
        self.refresh_token = tokens.refresh_token.get_secret_value()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


SignIn = Callable[..., Person]


@pytest.fixture
def sign_in(database: str) -> SignIn:
    """Make a member of staff with these roles and sign them in."""
    made = 0

    def signed_in(*roles: str, username: str | None = None) -> Person:
        nonlocal made
        made += 1
        name = username or f"{roles[0]}-{made}"
        user = users.create_staff_user(name, PASSWORD, [Role(role) for role in roles], actor="test")
        return Person(user.id, name, auth.login(name, PASSWORD, origin="test"))

    return signed_in


@pytest.fixture
def admin(sign_in: SignIn) -> Person:
    return sign_in("admin")


@pytest.fixture
def operator(sign_in: SignIn) -> Person:
    return sign_in("operator")


@pytest.fixture
def consultant(sign_in: SignIn) -> Person:
    return sign_in("consultant")


@pytest.fixture
def customer(operator: Person) -> Person:
    user = create_user(username="小美")
    assert user.external_id is not None
    minted_by = auth.identify(SecretStr(operator.token))
    tokens = auth.open_customer_session(user.external_id, minted_by=minted_by, origin="test")
    return Person(user.id, user.username, tokens)


@pytest.fixture(scope="package")
def apis(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ApiProcess]]:
    """Two API processes of the same installation."""
    folder = tmp_path_factory.mktemp("api")
    started: list[ApiProcess] = []
    try:
        for number in (1, 2):
            started.append(ApiProcess(folder / f"api-{number}.log"))
        yield started
    finally:
        for one in started:
            if one.process.poll() is None:
                one.stop()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
