"""Every route that changes something × who must not: generated from the application's table of routes, API and pages alike."""

import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient

from core.database import unit_of_work
from core.ids import new_id
from services import auth
from tests.admin.conftest import SignIn, Visitor
from tests.admin.test_every_form import allowed as may_send
from tests.api.conftest import PASSWORD
from tests.api.test_every_route import OPEN
from tests.api.test_every_route import allowed as may_call

UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
# Doors with keys of their own: tests/mcp_server/test_gate.py. Off here (404) until a setting opens them.
DOORS = ("/mcp", "/sse", "/messages")
STAFF = ("admin", "operator", "consultant")
# Ask for no sign-in; each has a proof of its own (a signature, a password, a refresh token, a form's token).
ANYONE = {path for method, path in OPEN if method in UNSAFE} | {"/admin/login"}


def unsafe(app: FastAPI) -> list[tuple[str, str]]:
    """Return the method and path of every route that may change something, however it got into the application."""
    return sorted({(method, path) for path, methods in _walk(app.routes, "") for method in methods & UNSAFE})


def _walk(routes: list[BaseRoute], prefix: str) -> Iterator[tuple[str, set[str]]]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _walk(list(route.routes or []), prefix + route.path)
        elif isinstance(route, Route):
            yield prefix + route.path, set(route.methods or UNSAFE)
        elif inner := getattr(route, "original_router", None):
            context = getattr(route, "include_context", None)
            yield from _walk(inner.routes, prefix + getattr(context, "prefix", ""))


def filled(path: str) -> str:
    """Return the path with ids nobody has: who may not is refused before anything is looked up."""
    path = path.replace("{name}", "registration-automation").replace("{version}", "1")
    return re.sub(r"\{[^}]*\}", str(new_id()), path)


def is_page(path: str) -> bool:
    return path.startswith(("/admin", "/inbox"))


def state() -> tuple[int, ...]:
    """Return what no refused request may have moved."""
    tables = ("audit_log", "settings_versions", "users", "agents", "mcp_tool_groups", "journeys", "messages")
    with unit_of_work() as session:
        return tuple(int(session.scalar(text(f"SELECT count(*) FROM {table}")) or 0) for table in tables)


def test_the_table_of_routes_is_the_whole_of_it(app: FastAPI) -> None:
    found = unsafe(app)
    described = {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if method.upper() in UNSAFE
    }
    assert described <= set(found)
    hidden = {path for method, path in set(found) - described}
    # What is in no description is a page, or a door of MCP.
    assert [path for path in hidden if not is_page(path) and not path.startswith(DOORS)] == []
    assert len(found) >= 100
    for _, path in found:
        assert path in ANYONE or path.startswith(DOORS) or (may_send(path) if is_page(path) else may_call("POST", path))


def refusals(app: FastAPI) -> list[tuple[str, str]]:
    return [(method, path) for method, path in unsafe(app) if path not in ANYONE and not path.startswith(DOORS)]


def test_nothing_changes_for_who_is_not_signed_in(app: FastAPI, client: TestClient) -> None:
    before = state()
    for method, path in refusals(app):
        answer = client.request(method, filled(path))
        # A form without its browser's token is refused before anybody is asked for.
        assert answer.status_code == (403 if is_page(path) else 401), f"{method} {path}"
    assert state() == before


def test_nothing_changes_for_the_wrong_role(app: FastAPI, sign_in: SignIn, client: TestClient) -> None:
    people = {role: sign_in(role) for role in STAFF}
    tokens = {
        role: auth.login(person.username, PASSWORD, origin="test").access_token for role, person in people.items()
    }
    before, refused = state(), 0
    for method, path in refusals(app):
        for role, person in people.items():
            if role in (may_send(path) if is_page(path) else may_call(method, path)):
                continue
            if is_page(path):
                status = person.post(filled(path)).status_code
            else:
                headers = {"authorization": f"Bearer {tokens[role].get_secret_value()}"}
                status = client.request(method, filled(path), headers=headers).status_code
            assert status == 403, f"{method} {path} as {role}: {status}"
            refused += 1
    assert state() == before
    assert refused > 100


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}])
def test_nothing_changes_for_another_site_that_borrows_the_browser(
    app: FastAPI, admin: Visitor, client: TestClient, headers: dict[str, str]
) -> None:
    before = state()
    for method, path in refusals(app):
        # The browser adds its cookie by itself; even the form's token would not help.
        borrowed = headers | {"cookie": f"anmei_session={admin.cookie}"}
        if is_page(path):
            answer = client.request(method, filled(path), headers=borrowed, data={"csrf_token": admin.token})
            assert (answer.status_code, "CROSS_SITE" in answer.text) == (403, True), f"{method} {path}"
        else:
            answer = client.request(method, filled(path), headers=borrowed, json={})
            assert answer.status_code == 401, f"{method} {path}"
        assert "access-control-allow-origin" not in answer.headers
    assert state() == before


def test_no_form_is_taken_without_its_browsers_token(app: FastAPI, admin: Visitor) -> None:
    before = state()
    for _, path in refusals(app):
        if is_page(path):
            answer = admin.send(filled(path), {})
            assert (answer.status_code, "CSRF_TOKEN" in answer.text) == (403, True), path
    assert state() == before


def test_the_doors_of_mcp_stay_shut_on_this_port(app: FastAPI, client: TestClient) -> None:
    doors = [(method, path) for method, path in unsafe(app) if path.startswith(DOORS)]
    assert doors
    for method, path in doors:
        assert client.request(method, filled(path), json={}).status_code == 404, f"{method} {path}"
