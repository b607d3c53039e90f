"""The application in this process, browsers that are signed in, and a record with something to look at."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import update
from starlette.testclient import TestClient

from core import passwords
from core.database import unit_of_work
from core.ids import new_id
from models import DeadLetter, JourneyStep, StepName
from services import agents_admin, dashboard, users
from services.permissions import Role
from tests.admin.providers import guest as guest
from tests.admin.providers import provider as provider
from tests.admin.providers import simulator as simulator
from tests.admin.sites import BASE as BASE
from tests.admin.sites import PASSWORD as PASSWORD
from tests.admin.sites import browser as browser
from tests.admin.sites import browser_for as browser_for
from tests.admin.sites import chromium as chromium
from tests.admin.sites import site as site
from tests.support.factories import create_agent, create_conversation, create_journey, create_user


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> None:
    """Hash with the least work: what argon2 costs is not under test."""
    from argon2 import PasswordHasher

    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(autouse=True)
def _forget_figures() -> None:
    dashboard.forget()
    agents_admin.forget()


@pytest.fixture(scope="session")
def app(database: str) -> FastAPI:
    from api_hooks.app import create_app

    return create_app()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A browser that is not signed in: it keeps cookies and shows where it is sent."""
    with TestClient(app, base_url=BASE, raise_server_exceptions=False, follow_redirects=False) as client:
        client.headers["accept-language"] = "en"
        yield client


class Visitor:
    """Somebody signed in with a browser: their requests, and the token their forms carry."""

    def __init__(self, client: TestClient, username: str) -> None:
        self._client = client
        self.username = username
        page = client.get("/admin/login")
        fields = {"csrf_token": token_of(page), "username": username, "password": PASSWORD, "next": "/admin"}
        client.cookies.update(page.cookies)
        answer = client.post("/admin/login", data=fields)
        assert answer.status_code == 303, answer.text
        self.cookie = answer.cookies["anmei_session"]
        client.cookies.clear()
        self.token = token_of(self.get("/admin/account"))

    def get(self, path: str, *, language: str = "en", **options: Any) -> httpx.Response:
        return self._client.get(path, headers=self._headers(language) | options.pop("headers", {}), **options)

    def post(self, path: str, data: dict[str, Any] | None = None, **options: Any) -> httpx.Response:
        """Send a form as this visitor's pages would."""
        return self.send(path, {"csrf_token": self.token} | (data or {}), **options)

    def send(self, path: str, data: dict[str, Any], *, headers: dict[str, str] | None = None) -> httpx.Response:
        """Send exactly this."""
        return self._client.post(path, data=data, headers=self._headers("en") | (headers or {}))

    def _headers(self, language: str) -> dict[str, str]:
        return {"cookie": f"anmei_session={self.cookie}; anmei_lang={language}"}


def token_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found, page.text[:500]
    return found.group(1)


SignIn = Callable[..., Visitor]


@pytest.fixture
def sign_in(client: TestClient) -> SignIn:
    """Make a member of staff with these roles and sign them in with a browser."""

    def signed_in(*roles: str) -> Visitor:
        name = f"{roles[0]}-{str(new_id())[-6:]}"
        users.create_staff_user(name, SecretStr(PASSWORD), [Role(role) for role in roles], actor="test")
        return Visitor(client, name)

    return signed_in


@pytest.fixture
def admin(sign_in: SignIn) -> Visitor:
    return sign_in("admin")


class Story:
    """A customer whose welcome failed for good, and the agent that was to write it."""

    def __init__(self) -> None:
        user = create_user(username="小美 <b>")
        self.agent = create_agent(name="welcome")
        self.journey = create_journey(user=user, status="failed")
        create_conversation(customer=user, journey_id=self.journey.id)
        self.letter = DeadLetter(
            id=new_id(),
            journey_id=self.journey.id,
            step=StepName.CREATE_CONVERSATION,
            error_code="BOOM",
            error_text="it broke",
            attempts=4,
        )
        failed = update(JourneyStep).where(JourneyStep.journey_id == self.journey.id, JourneyStep.position == 0)
        with unit_of_work() as session:
            session.add(self.letter)
            session.execute(failed.values(status="failed", due_at=None, sweep_at=None, error_code="BOOM"))


@pytest.fixture
def story(database: str) -> Story:
    return Story()
