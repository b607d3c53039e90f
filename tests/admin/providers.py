"""A sign-in provider that really runs, and browsers that sign in through it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from clients import oidc as oidc_client
from core.database import unit_of_work
from models import AuthSession, OidcIdentity, User
from services import sign_in
from tests.admin.sites import BASE
from tests.simulators.simproc import running

SECRET = "a secret of the provider's"
CHIEF = {"sub": "person-1", "preferred_username": "mei", "name": "小美", "realm": {"roles": ["chiefs", "x"]}}


class Provider:
    def __init__(self, url: str) -> None:
        self.url = url

    def is_told(self, **wanted: Any) -> list[dict[str, str]]:
        answer = httpx.put(f"{self.url}/__sim__", json=wanted)
        answer.raise_for_status()
        asked: list[dict[str, str]] = answer.json()["asked"]
        return asked


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with running("-m", "simulators.oidc", "--port", "0", "--client-secret", SECRET) as (url, _):
        yield url


@pytest.fixture
def provider(simulator: str, database: str) -> Provider:
    oidc_client.forget()
    provider = Provider(simulator)
    provider.is_told(person=CHIEF, userinfo={}, fault="", client_secret=SECRET)
    configure(simulator)
    return provider


def configure(provider: str, **changes: Any) -> None:
    values = {
        "issuer": provider,
        "client_id": "anmei",
        "client_secret": SECRET,
        "provider_name": "Company",
        "roles_claim": "realm.roles",
        "admin_values": ["chiefs"],
        "operator_values": ["desk"],
        "consultant_values": ["advisers"],
    }
    sign_in.FAMILY.change(values | changes, actor="test")


class Guest:
    """A browser that follows redirects by hand: ours through the application, the provider's through the network."""

    def __init__(self, app: FastAPI) -> None:
        self.client = TestClient(app, base_url=BASE, raise_server_exceptions=False, follow_redirects=False)
        self.client.headers["accept-language"] = "en"

    def begin(self, target: str = "/admin/audit") -> str:
        answer = self.client.get("/admin/login/oidc", params={"next": target})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def at_provider(self, address: str) -> str:
        answer = httpx.get(address)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].removeprefix(BASE)

    def sign_in(self) -> httpx.Response:
        return self.client.get(self.at_provider(self.begin()))


@pytest.fixture
def guest(app: FastAPI) -> Guest:
    return Guest(app)


def count(model: Any) -> int:
    with unit_of_work() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def user_named(name: str) -> User:
    with unit_of_work() as session:
        return session.scalars(select(User).where(User.username == name)).one()


def refused(guest: Guest, answer: httpx.Response) -> None:
    """No session, no account, no link came of it."""
    assert "anmei_session" not in answer.headers.get("set-cookie", "")
    assert (count(AuthSession), count(OidcIdentity)) == (0, 0)
    assert guest.client.get("/admin/audit").status_code == 303
