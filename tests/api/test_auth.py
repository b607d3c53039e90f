"""Signing in, staying in, and being put out."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import jwt
import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from core.clock import utc_now
from core.crypto import derive_key
from core.database import unit_of_work
from models import AuditEntry, AuthSession, Consultant, LoginFailures, RefreshToken, User
from services import users
from services.permissions import Role
from services.users import StaffChange
from tests.api.conftest import PASSWORD, Person, SignIn
from tests.support.factories import create_user

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users"


def _login(client: TestClient, username: str, password: str = PASSWORD.get_secret_value()):
    return client.post(LOGIN, json={"username": username, "password": password})


def test_the_right_password_gives_an_access_and_a_refresh_token(client: TestClient, admin: Person) -> None:
    answer = _login(client, admin.username)
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert set(body["data"]) == {"access_token", "expires_in", "refresh_token"}
    assert body["data"]["expires_in"] == 900
    listed = client.get(ME, headers={"Authorization": f"Bearer {body['data']['access_token']}"})
    assert listed.status_code == 200
    assert [one["username"] for one in listed.json()["data"]["items"]] == [admin.username]


@pytest.mark.parametrize("username", ["admin-1", "nobody"])
def test_a_wrong_password_and_an_unknown_name_are_answered_alike(
    client: TestClient, admin: Person, username: str
) -> None:
    answer = _login(client, username, "not the password")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    body = answer.json()
    assert (body["success"], body["code"], body["status"]) == (False, "LOGIN_FAILED", 401)
    assert body["detail"] == "the name or the password is wrong"
    with unit_of_work() as session:
        # Only the fixture's own sign-in.
        assert session.scalar(select(func.count()).select_from(AuthSession)) == 1


def test_five_failures_lock_the_name_at_this_address_and_the_right_password_waits_too(
    client: TestClient, admin: Person
) -> None:
    for _ in range(5):
        assert _login(client, admin.username, "wrong wrong wrong").status_code == 401
    locked = _login(client, admin.username)
    assert locked.status_code == 429
    assert locked.json()["code"] == "LOGIN_LOCKED"
    assert 25 <= int(locked.headers["retry-after"]) <= 31


def test_after_a_lock_one_attempt_is_free_and_a_failure_locks_for_twice_as_long(
    client: TestClient, admin: Person
) -> None:
    for _ in range(5):
        _login(client, admin.username, "wrong wrong wrong")
    with unit_of_work() as session:
        session.execute(update(LoginFailures).values(locked_until=utc_now() - timedelta(seconds=1)))
    assert _login(client, admin.username, "wrong wrong wrong").status_code == 401
    assert 55 <= int(_login(client, admin.username).headers["retry-after"]) <= 61
    with unit_of_work() as session:
        session.execute(update(LoginFailures).values(locked_until=utc_now() - timedelta(seconds=1)))
    assert _login(client, admin.username).status_code == 200
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).where(LoginFailures.key.startswith("name:"))) == 0


def test_many_guesses_at_once_get_no_further_than_many_in_a_row(client: TestClient, admin: Person) -> None:
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: _login(client, admin.username, "wrong wrong wrong").status_code, range(40)))
    assert statuses.count(401) == 5
    assert statuses.count(429) == 35


def test_a_refresh_token_is_good_for_one_use(client: TestClient, admin: Person) -> None:
    first = client.post("/api/v1/auth/refresh", json={"refresh_token": admin.refresh_token})
    assert first.status_code == 200
    assert first.json()["data"]["refresh_token"] != admin.refresh_token
    second = client.post("/api/v1/auth/refresh", json={"refresh_token": first.json()["data"]["refresh_token"]})
    assert second.status_code == 200


def test_a_refresh_token_used_again_ends_the_session_for_everybody(client: TestClient, admin: Person) -> None:
    fresh = client.post("/api/v1/auth/refresh", json={"refresh_token": admin.refresh_token}).json()["data"]
    again = client.post("/api/v1/auth/refresh", json={"refresh_token": admin.refresh_token})
    assert (again.status_code, again.json()["code"]) == (401, "REFRESH_INVALID")
    newest = client.post("/api/v1/auth/refresh", json={"refresh_token": fresh["refresh_token"]})
    assert newest.status_code == 401
    listed = client.get(ME, headers={"Authorization": f"Bearer {fresh['access_token']}"})
    assert (listed.status_code, listed.json()["code"]) == (401, "SESSION_ENDED")


def test_of_two_refreshes_at_once_with_one_token_one_succeeds_and_the_session_ends(
    client: TestClient, admin: Person
) -> None:
    start = threading.Barrier(2)

    def refresh(_: int) -> int:
        start.wait()
        return client.post("/api/v1/auth/refresh", json={"refresh_token": admin.refresh_token}).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(refresh, range(2))) == [200, 401]
    assert client.get(ME, headers=admin.headers).status_code == 401


def test_logout_stops_the_access_token_and_the_refresh_token_at_once(client: TestClient, admin: Person) -> None:
    assert client.post("/api/v1/auth/logout", headers=admin.headers).status_code == 200
    assert client.get(ME, headers=admin.headers).json()["code"] == "SESSION_ENDED"
    assert client.post("/api/v1/auth/refresh", json={"refresh_token": admin.refresh_token}).status_code == 401


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"exp": utc_now() - timedelta(minutes=1)}, "TOKEN_EXPIRED"),
        ({"aud": "somebody-else"}, "TOKEN_INVALID"),
        ({"iss": "somebody-else"}, "TOKEN_INVALID"),
        ({"sub": "not-an-id"}, "TOKEN_INVALID"),
        ({"sid": 7}, "TOKEN_INVALID"),
    ],
)
def test_a_token_that_is_off_in_one_claim_is_refused(
    client: TestClient, admin: Person, change: dict[str, object], code: str
) -> None:
    claims = jwt.decode(admin.token, options={"verify_signature": False})
    forged = jwt.encode(claims | change, derive_key("jwt"), algorithm="HS256")
    answer = client.get(ME, headers={"Authorization": f"Bearer {forged}"})
    assert (answer.status_code, answer.json()["code"]) == (401, code)


def test_a_token_signed_otherwise_or_not_at_all_is_refused(client: TestClient, admin: Person) -> None:
    claims = jwt.decode(admin.token, options={"verify_signature": False})
    for forged in (jwt.encode(claims, b"x" * 32, algorithm="HS256"), jwt.encode(claims, "", algorithm="none"), "junk"):
        answer = client.get(ME, headers={"Authorization": f"Bearer {forged}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_INVALID")
    missing = client.get(ME)
    assert (missing.status_code, missing.json()["code"]) == (401, "TOKEN_MISSING")


def test_a_changed_role_holds_from_the_next_request_on(client: TestClient, admin: Person, sign_in: SignIn) -> None:
    other = sign_in("admin")
    assert client.get(ME, headers=other.headers).status_code == 200
    changed = client.patch(f"{ME}/{other.user_id}", json={"roles": ["operator"]}, headers=admin.headers)
    assert changed.status_code == 200
    assert client.get(ME, headers=other.headers).status_code == 401
    again = _login(client, other.username).json()["data"]["access_token"]
    assert client.get(ME, headers={"Authorization": f"Bearer {again}"}).status_code == 403


def test_the_last_administrator_cannot_be_taken_away(client: TestClient, admin: Person) -> None:
    for change in ({"is_active": False}, {"roles": ["operator"]}):
        answer = client.patch(f"{ME}/{admin.user_id}", json=change, headers=admin.headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "LAST_ADMINISTRATOR")
    with unit_of_work() as session:
        user = session.get_one(User, admin.user_id)
        assert (user.is_active, user.roles) == (True, ["admin"])


def test_a_customer_token_grants_a_customers_rights_whatever_roles_the_signup_service_gave(
    client: TestClient, operator: Person
) -> None:
    create_user(external_id="u-sly", roles=["admin", "customer"])
    minted = client.post("/api/v1/auth/customer-token", json={"user_id": "u-sly"}, headers=operator.headers)
    assert minted.status_code == 200
    headers = {"Authorization": f"Bearer {minted.json()['data']['access_token']}"}
    assert client.get(ME, headers=headers).status_code == 403
    renewed = client.post(
        "/api/v1/auth/refresh", json={"refresh_token": minted.json()["data"]["refresh_token"]}
    ).json()["data"]
    assert jwt.decode(renewed["access_token"], options={"verify_signature": False})["roles"] == ["customer"]


def test_a_customer_token_is_for_customers_only(client: TestClient, admin: Person, operator: Person) -> None:
    answer = client.post("/api/v1/auth/customer-token", json={"user_id": str(admin.user_id)}, headers=operator.headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "CUSTOMER_NOT_FOUND")


def test_a_user_without_a_password_cannot_sign_in(client: TestClient) -> None:
    create_user(username="registered")
    assert _login(client, "registered").status_code == 401


def test_nothing_secret_is_stored_readable_and_sign_ins_are_audited(client: TestClient, admin: Person) -> None:
    with unit_of_work() as session:
        stored = session.scalars(select(RefreshToken.token_hash)).all()
        assert admin.refresh_token.encode() not in b"".join(stored)
        hashed = session.scalars(select(User.password_hash).where(User.id == admin.user_id)).one()
        assert hashed is not None
        assert hashed.startswith("$argon2id$")
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
    assert actions == ["user.create", "auth.login"]


def test_a_short_password_and_unknown_roles_make_no_user(client: TestClient, admin: Person) -> None:
    for wrong in (
        {"username": "x", "password": "short", "roles": ["operator"]},
        {"username": "x", "password": "long enough here", "roles": []},
        {"username": "x", "password": "long enough here", "roles": ["customer"]},
        {"username": "x", "password": "long enough here", "roles": ["root"]},
        {"username": "x\x00", "password": "long enough here", "roles": ["operator"]},
        {"username": "x", "password": "long enough here", "roles": ["operator"], "is_admin": True},
    ):
        answer = client.post(ME, json=wrong, headers=admin.headers)
        assert answer.status_code == 422, wrong
        assert "long enough here" not in answer.text
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(User)) == 1


def test_a_taken_name_is_a_conflict_and_changes_nobody(client: TestClient, admin: Person) -> None:
    wanted = {"username": admin.username, "password": "another password", "roles": ["operator"]}
    answer = client.post(ME, json=wanted, headers=admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "USERNAME_TAKEN")
    assert _login(client, admin.username).status_code == 200


def test_consultants_are_made_and_switched_off_with_their_role(client: TestClient, admin: Person) -> None:
    made = client.post(
        ME,
        json={"username": "lin", "password": "long enough here", "roles": ["consultant"], "display_name": "林顾问"},
        headers=admin.headers,
    )
    assert made.status_code == 201
    user_id = made.json()["data"]["id"]

    def consultant() -> tuple[str, bool]:
        with unit_of_work() as session:
            row = session.scalars(select(Consultant).where(Consultant.user_id == user_id)).one()
            return row.display_name, row.enabled

    assert consultant() == ("林顾问", True)
    users.change_staff_user(user_id, StaffChange(is_active=False), actor="test")
    assert consultant() == ("林顾问", False)
    users.change_staff_user(user_id, StaffChange(is_active=True, roles=[Role.CONSULTANT]), actor="test")
    assert consultant() == ("林顾问", True)


def test_the_tokens_stand_in_the_envelope_and_beside_it(client: TestClient, sign_in: SignIn) -> None:
    person = sign_in("operator")
    body = {"username": person.username, "password": PASSWORD.get_secret_value()}
    answer = client.post("/api/v1/auth/login", json=body).json()
    assert answer["success"] is True
    assert {name: answer[name] for name in ("access_token", "expires_in", "refresh_token")} == answer["data"]
