"""What holds for every form there is, generated from the table of routes: a new one cannot be forgotten."""

import re
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from admin.routes import PARTS
from admin.web import SAFE_METHODS, PageRoute
from core.database import unit_of_work
from core.ids import new_id
from queries import audit
from tests.admin.conftest import SignIn, Visitor, token_of

# Which roles may send a form, by the beginning of its path; the longest one that fits decides.
ALLOWED = {
    "/admin/logout": {"admin", "operator", "consultant"},
    "/admin/account": {"admin", "operator", "consultant"},
    "/admin/journeys": {"admin", "operator"},
    "/admin/dead-letters": {"admin", "operator"},
    "/admin/settings": {"admin"},
    "/admin/templates": {"admin"},
    "/admin/agents": {"admin"},
    "/admin/mcp": {"admin"},
    "/admin/webhook": {"admin"},
    "/admin/users": {"admin"},
    "/admin/consultants": {"admin"},
    "/admin/audit": {"admin"},
}
OPEN = {"/admin/login"}
ENDS_SESSION = {"/admin/logout"}


def routes() -> Iterator[APIRoute]:
    for part in PARTS:
        for route in part.router.routes:
            assert isinstance(route, PageRoute), f"{route} is guarded by nothing"
            yield route


def forms() -> list[str]:
    """Return the path of every form, its parameters filled with ids nobody has."""
    found = [route.path for route in routes() if not SAFE_METHODS.issuperset(route.methods)]
    return [filled(path) for path in found]


def filled(path: str) -> str:
    path = path.replace("{name}", "registration-automation").replace("{version}", "1")
    return re.sub(r"\{[^}]*\}", str(new_id()), path)


def allowed(path: str) -> set[str]:
    fitting = [beginning for beginning in ALLOWED if path.startswith(beginning)]
    assert fitting, f"{path} is in no row of the table"
    return ALLOWED[max(fitting, key=len)]


def entries() -> int:
    with unit_of_work() as session:
        nothing = {"actor": None, "action": None, "subject": None, "since": None, "until": None, "before": None}
        return len(audit.list_entries(session, **nothing, limit=1000))


def test_forms_only_change_by_post_and_there_are_as_many_as_there_were() -> None:
    assert {method for route in routes() for method in route.methods} <= {"GET", "POST"}
    assert len(forms()) >= 28


def test_no_form_is_taken_from_a_browser_that_is_not_signed_in(client: TestClient) -> None:
    page = client.get("/admin/login")
    client.cookies.update(page.cookies)
    for path in forms():
        if path in OPEN:
            continue
        # With the token of its own sign-in page, so that only the missing session is in the way.
        answer = client.post(path, data={"csrf_token": token_of(page)})
        assert answer.status_code == 401, f"{path}: {answer.status_code}"
        assert client.post(path, data={}, headers={"cookie": ""}).status_code == 403, path


def test_every_form_refuses_the_wrong_role_and_takes_the_right_one(sign_in: SignIn) -> None:
    people = {role: sign_in(role) for role in ("admin", "operator", "consultant")}
    for path in forms():
        if path in OPEN | ENDS_SESSION:
            continue
        for role, person in people.items():
            status = person.post(path).status_code
            assert (status != 403) == (role in allowed(path)), f"{path} as {role}: {status}"
            assert status < 500, f"{path} as {role}: {status}"


def test_no_form_is_taken_without_this_browsers_token(sign_in: SignIn) -> None:
    admin, other = sign_in("admin"), sign_in("admin")
    before = entries()
    for path in forms():
        for data in ({}, {"csrf_token": ""}, {"csrf_token": "junk"}, {"csrf_token": other.token}):
            answer = admin.send(path, data)
            assert answer.status_code == 403, f"{path} {data}: {answer.status_code}"
            assert "CSRF_TOKEN" in answer.text
    assert entries() == before
    assert admin.get("/admin/account").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_no_form_is_taken_from_another_site(admin: Visitor, headers: dict[str, str]) -> None:
    before = entries()
    for path in forms():
        answer = admin.send(path, {"csrf_token": admin.token}, headers=headers)
        assert answer.status_code == 403, f"{path}: {answer.status_code}"
        assert "CROSS_SITE" in answer.text
    assert entries() == before


def test_forms_from_ones_own_site_are_taken(admin: Visitor) -> None:
    headers = {"sec-fetch-site": "same-origin", "origin": "https://testserver"}
    answer = admin.send("/admin/logout", {"csrf_token": admin.token}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login?done=signed-out")
    assert admin.get("/admin/dashboard").headers["location"].startswith("/admin/login?next=")


def test_only_forms_are_taken(admin: Visitor, client: TestClient) -> None:
    answer = client.post(
        "/admin/logout", json={"csrf_token": admin.token}, headers={"cookie": f"anmei_session={admin.cookie}"}
    )
    assert answer.status_code == 422
    assert admin.get("/admin/account").status_code == 200


def test_every_page_asks_who_is_looking_and_keeps_its_policy(client: TestClient) -> None:
    for route in routes():
        if "GET" not in route.methods or route.path.startswith(("/admin/login", "/admin/static", "/admin/language")):
            continue
        answer = client.get(filled(route.path))
        live = route.path.endswith("/live")
        assert answer.status_code == (401 if live else 303), route.path
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert live or answer.headers["location"].startswith("/admin/login?next=")
