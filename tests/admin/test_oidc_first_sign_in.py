"""First sign-ins through a provider: whose account it becomes, under which name, both rows or neither; and what it costs."""

import ast
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import select
from starlette.testclient import TestClient

from clients import oidc as oidc_client
from clients.oidc import OidcUnavailableError
from core.database import unit_of_work
from models import AuditEntry, AuthSession, Consultant, OidcIdentity, User
from queries import auth as queries
from services import audit, auth, users
from services.permissions import Role
from tests.admin.conftest import PASSWORD
from tests.admin.providers import CHIEF, Guest, Provider, configure, count, refused
from tests.clients.hostile import HostileServer, saying

ROOT = Path(__file__).parents[2]
CALLBACK = "/admin/login/oidc/callback"
OUR_OWN = ("api_hooks", "tasks", "worker", "mcp_server", "admin", "services", "queries")


def links() -> list[tuple[str, str]]:
    """Return which subject stands for whom."""
    with unit_of_work() as session:
        found = session.execute(select(OidcIdentity.subject, User.username).join(User, User.id == OidcIdentity.user_id))
        return sorted((subject, name) for subject, name in found)


def test_a_name_given_to_somebody_else_at_the_provider_does_not_bring_the_account_along(
    app: FastAPI, guest: Guest, provider: Provider
) -> None:
    configure(provider.url, link_by_name=True)
    assert Guest(app).sign_in().status_code == 303
    sessions = count(AuthSession)
    provider.is_told(person=CHIEF | {"sub": "person-2"})
    answer = guest.sign_in()
    assert answer.status_code == 409
    assert "has your name" in answer.text
    assert (links(), count(AuthSession), count(User)) == ([("person-1", "mei")], sessions, 1)


def test_an_account_linked_at_another_issuer_may_be_taken_over_where_that_is_set(
    guest: Guest, provider: Provider
) -> None:
    user = users.create_staff_user("mei", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    with unit_of_work() as session:
        queries.link_oidc_user(session, "https://before.example", "old", user.id)
    configure(provider.url, link_by_name=True)
    assert guest.sign_in().status_code == 303
    assert links() == [("old", "mei"), ("person-1", "mei")]


@pytest.mark.parametrize("verified", [None, False, "true", 1])
@pytest.mark.parametrize("link_by_name", [False, True])
def test_an_address_nobody_verified_is_nobodys_name(
    guest: Guest, provider: Provider, verified: Any, link_by_name: bool
) -> None:
    users.create_staff_user("mei@example.com", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    configure(provider.url, username_claim="email", link_by_name=link_by_name)
    claims = {} if verified is None else {"email_verified": verified}
    for address in ("mei@example.com", "new@example.com"):
        provider.is_told(person=CHIEF | {"email": address} | claims)
        answer = guest.sign_in()
        assert answer.status_code == 403
        refused(guest, answer)
    assert count(User) == 1


def test_a_verified_address_takes_over_the_account_of_that_name(guest: Guest, provider: Provider) -> None:
    users.create_staff_user("mei@example.com", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    configure(provider.url, username_claim="email", link_by_name=True)
    provider.is_told(person=CHIEF | {"email": "mei@example.com", "email_verified": True})
    assert guest.sign_in().status_code == 303
    assert links() == [("person-1", "mei@example.com")]


@pytest.mark.parametrize(
    "name", [*sorted(audit.OWN_ACTORS), "System", " retention ", "ｓystem", "customer:x", "Customer：x"]
)
def test_nobody_is_called_what_the_audit_log_calls_us_or_a_customer(
    guest: Guest, provider: Provider, name: str
) -> None:
    provider.is_told(person=CHIEF | {"preferred_username": name})
    answer = guest.sign_in()
    assert (answer.status_code, "no name" in answer.text) == (403, True)
    refused(guest, answer)
    assert count(User) == 0


def test_every_actor_the_code_names_is_reserved() -> None:
    named: set[str] = set()
    for folder in OUR_OWN:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("ACTOR", "SEEDED_BY"):
                    named.add(ast.literal_eval(node.value))
                elif isinstance(node, ast.keyword) and node.arg == "actor" and isinstance(node.value, ast.Constant):
                    named.add(str(node.value.value))
                elif isinstance(node, ast.arguments):
                    named |= {
                        str(default.value)
                        for argument, default in zip(node.kwonlyargs, node.kw_defaults, strict=True)
                        if argument.arg == "actor" and isinstance(default, ast.Constant) and default.value
                    }
    assert named == audit.OWN_ACTORS


def test_blanks_around_a_name_make_no_second_account_of_it(guest: Guest, provider: Provider) -> None:
    users.create_staff_user("mei", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    provider.is_told(person=CHIEF | {"preferred_username": " mei "})
    answer = guest.sign_in()
    assert answer.status_code == 409
    refused(guest, answer)
    assert count(User) == 1


def test_an_account_that_could_not_be_linked_is_not_made(
    app: FastAPI, guest: Guest, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("killed between the two")

    provider.is_told(person=CHIEF | {"realm": {"roles": ["advisers"]}})
    with monkeypatch.context() as patched:
        patched.setattr(queries, "link_oidc_user", broken)
        assert guest.sign_in().status_code == 500
    assert (count(User), count(Consultant), count(OidcIdentity), count(AuthSession)) == (0, 0, 0, 0)
    # What was left behind before had the name, and kept its owner out for ever.
    assert Guest(app).sign_in().status_code == 303
    assert links() == [("person-1", "mei")]


def test_of_two_first_sign_ins_at_once_both_are_let_into_one_account(
    app: FastAPI, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, calls, add = threading.Barrier(2), itertools.count(), users.add_staff_user

    def together(*arguments: Any, **named: Any) -> User:
        # Each has found nobody of this name by now. The one that tries again comes alone.
        if next(calls) < both.parties:
            both.wait(timeout=5)
        return add(*arguments, **named)

    monkeypatch.setattr(users, "add_staff_user", together)
    guests = [Guest(app), Guest(app)]
    addresses = [one.at_provider(one.begin()) for one in guests]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda one: one[0].client.get(one[1]), zip(guests, addresses, strict=True)))
    assert [one.status_code for one in answers] == [303, 303]
    assert (links(), count(User), count(AuthSession)) == ([("person-1", "mei")], 1, 2)
    with unit_of_work() as session:
        made = session.scalars(select(AuditEntry.action).where(AuditEntry.actor == "sign-in")).all()
    assert sorted(made) == ["auth.link", "user.create"]


@pytest.fixture
def silent() -> Iterator[HostileServer]:
    """A provider that answers everything with an error."""
    server = HostileServer(saying(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    oidc_client.forget()
    yield server
    server.close()
    oidc_client.forget()


def test_a_provider_that_fails_is_asked_once_however_many_sign_in(
    app: FastAPI, silent: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(silent.url)
    client = TestClient(app, base_url="https://testserver", follow_redirects=False)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.get("/admin/login/oidc").status_code, range(24)))
    assert (answers, silent.accepted) == ([503] * 24, 1)
    monkeypatch.setattr(oidc_client, "FAILED_SECONDS", 0)
    assert client.get("/admin/login/oidc").status_code == 503
    assert silent.accepted == 2


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_reply_that_trickles_in_is_given_up_as_a_whole(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(oidc_client, "TIMEOUT_SECONDS", 0.5)
    over = threading.Event()

    def trickle(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + (b"" if where == "head" else b"Content-Length: 9999\r\n\r\n"))
        # Well within the time between two bytes, for ever.
        while not over.wait(0.05):
            connection.sendall(b"x")

    server, given_up = HostileServer(trickle), threading.Event()
    oidc_client.forget()

    def ask() -> None:
        with pytest.raises(OidcUnavailableError, match="TimeoutError"):
            oidc_client._ask("GET", server.url)
        given_up.set()

    threading.Thread(target=ask, daemon=True).start()
    try:
        assert given_up.wait(5)
    finally:
        over.set()
        server.close()


def test_answers_of_sign_ins_begun_here_are_counted_by_address_before_the_provider_is_asked(
    guest: Guest, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FAILURES_ORIGIN", 2)
    asked, ask = [], oidc_client._ask

    def noted(method: str, url: str, **named: Any) -> dict[str, Any]:
        asked.append(url)
        return ask(method, url, **named)

    monkeypatch.setattr(oidc_client, "_ask", noted)
    # An answer to nothing that this browser began costs nothing, and counts for nothing.
    for _ in range(3):
        assert guest.client.get(f"{CALLBACK}?code=x&state=y").status_code == 401
    assert asked == []
    statuses = []
    for _ in range(3):
        state = guest.begin().split("state=")[1].split("&")[0]
        statuses.append(guest.client.get(f"{CALLBACK}?code=junk&state={state}").status_code)
    assert statuses == [401, 401, 429]
    assert asked == [f"{provider.url}/.well-known/openid-configuration", *[f"{provider.url}/token"] * 2]
    assert count(AuthSession) == 0
