"""What holds for every route there is, generated from the application's own description: a new one cannot be forgotten."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from core.ids import new_id
from services import mcp_settings
from tests.api.conftest import Person, SignIn

# Who may call without being signed in; everything else needs a token.
OPEN = {
    ("POST", "/hooks/registrations"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/refresh"),
}
ALL = {"admin", "operator", "consultant", "customer"}
OPERATORS = {"admin", "operator"}
ADMINS = {"admin"}
# The contract's table, by the beginning of the path; the longest one that fits decides.
ALLOWED: dict[str, set[str]] = {
    "* /api/v1/auth/logout": ALL,
    "* /api/v1/auth/customer-token": OPERATORS,
    "* /api/v1/journeys": OPERATORS,
    "* /api/v1/dead-letters": OPERATORS,
    "* /api/v1/conversations": ALL,
    "POST /api/v1/conversations/{}/claim": {"consultant"},
    "* /api/v1/messages": {"customer"},
    "GET /api/v1/consultants": {"admin", "operator", "consultant"},
    "* /api/v1/consultants/me": {"consultant"},
    "* /api/v1/consultants/{}": ADMINS,
    "* /api/v1/mcp": ADMINS,
    "* /api/v1/agents": ADMINS,
    "* /api/v1/settings": ADMINS,
    "* /api/v1/registration-automation": OPERATORS,
    "* /api/v1/admin/registration-automation": OPERATORS,
    "* /api/v1/audit-log": ADMINS,
    "* /api/v1/alerts": OPERATORS,
    "* /api/v1/alert-channels": ADMINS,
    "* /api/v1/users": ADMINS,
    "* /api/v1/webhook-secrets": ADMINS,
}


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Return every method and path, as the OpenAPI description lists them."""
    return [
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if method in ("get", "post", "put", "patch", "delete")
    ]


def allowed(method: str, path: str) -> set[str]:
    plain = re.sub(r"\{[^}]*\}", "{}", path)
    fitting = [key for key in ALLOWED if key.split(" ")[0] in ("*", method) and plain.startswith(key.split(" ")[1])]
    assert fitting, f"{method} {path} is in no row of the table"
    return ALLOWED[max(fitting, key=lambda key: (len(key.split(" ")[1]), key[0] != "*"))]


def call(client: TestClient, method: str, path: str, headers: dict[str, str]) -> Any:
    """Call with an id nobody has and without a body: who may not is refused before anything is looked at."""
    filled = re.sub(r"\{name\}", "registration-automation", path)
    return client.request(method, re.sub(r"\{[^}]*\}", str(new_id()), filled), headers=headers)


def test_every_route_but_the_open_ones_asks_who_is_calling(app: FastAPI, client: TestClient) -> None:
    asked = 0
    for method, path in routes(app):
        if (method, path) in OPEN:
            continue
        for headers in ({}, {"Authorization": "Bearer junk"}, {"Authorization": "Basic YWRtaW46YWRtaW4="}):
            answer = call(client, method, path, headers)
            assert answer.status_code == 401, f"{method} {path} {headers}"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")
        asked += 1
    assert asked >= 50


def test_every_route_lets_in_the_contracts_roles_and_nobody_else(
    app: FastAPI, client: TestClient, sign_in: SignIn, customer: Person
) -> None:
    people = {role: sign_in(role) for role in ("admin", "operator", "consultant")} | {"customer": customer}
    for method, path in routes(app):
        if (method, path) in OPEN or path.endswith("/logout"):
            continue
        roles = allowed(method, path)
        for role, person in people.items():
            status = call(client, method, path, person.headers).status_code
            assert (status != 403) == (role in roles), f"{method} {path} as {role}: {status}"
            assert status not in (401, 500), f"{method} {path} as {role}: {status}"


def test_the_description_knows_problems_and_names_every_operation(app: FastAPI) -> None:
    description = app.openapi()
    names = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            names.append(operation["operationId"])
            assert operation["summary"], f"{method} {path}"
            for status in ("4XX", "5XX"):
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], f"{method} {path}"
                assert content["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
            assert "422" not in operation["responses"]
    assert len(names) == len(set(names))
    assert "HTTPValidationError" not in description["components"]["schemas"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "NOT_FOUND"),
        ("DELETE", "/healthz", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/api/v1/auth/login", 422, "INVALID_INPUT"),
    ],
)
def test_whatever_goes_wrong_is_a_problem(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)
    body = answer.json()
    assert (answer.status_code, body["code"], body["success"], body["instance"]) == (status, code, False, path)
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= set(body)
    assert answer.headers["x-request-id"] == body["request_id"]


def test_a_body_that_is_not_json_is_said_to_be_none(client: TestClient) -> None:
    answer = client.post("/api/v1/auth/login", content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "NOT_JSON")


def test_a_body_too_large_is_refused_announced_or_not(client: TestClient) -> None:
    large = b" " * (1024 * 1024 + 1)
    for content in (large, iter([large[:600_000], large[600_000:]])):
        answer = client.post("/api/v1/auth/login", content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_a_callers_request_id_is_kept_where_it_is_harmless(client: TestClient) -> None:
    assert client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for odd in ("a b", "x" * 65, "a\tb"):
        assert client.get("/healthz", headers={"x-request-id": odd}).headers["x-request-id"] != odd


def test_what_nobody_expected_is_answered_without_a_trace(
    app: FastAPI, client: TestClient, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services import users

    def broken(**_: object) -> None:
        raise RuntimeError("for nobody to see")

    monkeypatch.setattr(users, "list_users", broken)
    answer = client.get("/api/v1/users", headers=admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    assert "nobody to see" not in answer.text
    assert "Traceback" not in answer.text


def test_readyz_says_what_is_missing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/readyz").json() == {"status": "ready", "database": "ok", "broker": "ok", "migrations": "ok"}
    from api_hooks import health

    monkeypatch.setattr(health, "_schema_problem", lambda there: f"the schema is at {there}, this release needs 9999")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "needs 9999" in answer.json()["migrations"]
    assert answer.json()["database"] == "ok"


def test_mcp_is_served_under_this_port_while_the_setting_says_so(client: TestClient) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert client.post("http://127.0.0.1/mcp", json=call).status_code == 404
    mcp_settings.change({"mount_on_api": True}, actor="test")
    assert client.post("http://127.0.0.1/mcp", json=call).status_code == 401
    mcp_settings.change({"mount_on_api": False}, actor="test")
    assert client.post("http://127.0.0.1/mcp", json=call).status_code == 404
