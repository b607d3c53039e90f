"""Signing in through a provider that really runs, really signs, and does everything wrong that can be done wrong."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI
from pydantic import SecretStr, ValidationError
from sqlalchemy import select

from clients import oidc as oidc_client
from core import crypto
from core.database import unit_of_work
from core.settings import get_settings
from core.snapshots import forget_all
from models import AuditEntry, AuthSession, Consultant, OidcIdentity, SettingsVersion, User
from services import users
from services.permissions import Role
from services.sealed import unseal
from services.secret_rotation import reencrypt_all
from services.users import StaffChange
from tests.admin.conftest import BASE, PASSWORD, SignIn, Visitor
from tests.admin.providers import CHIEF, SECRET, Guest, Provider, configure, count, refused, user_named


def test_nothing_of_it_is_there_until_it_is_set(guest: Guest) -> None:
    assert "/login/oidc" not in guest.client.get("/admin/login").text
    assert guest.client.get("/admin/login/oidc").status_code == 404
    assert guest.client.get("/admin/login/oidc/callback?code=x&state=y").status_code == 404


def test_a_first_sign_in_makes_an_account_with_the_claims_roles(guest: Guest, provider: Provider) -> None:
    assert "Sign in with Company" in guest.client.get("/admin/login").text
    answer = guest.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/audit")
    assert guest.client.get("/admin/audit").status_code == 200
    made = user_named("mei")
    assert made.roles == ["admin"]
    with unit_of_work() as session:
        linked = session.scalars(select(OidcIdentity)).one()
        noted = session.scalars(select(AuditEntry).where(AuditEntry.action == "auth.login")).one()
    assert (linked.issuer, linked.subject, linked.user_id) == (provider.url, "person-1", made.id)
    assert (noted.actor, noted.after) == ("mei", {"issuer": provider.url})
    # Nobody knows its password.
    refused = guest.client.post("/api/v1/auth/login", json={"username": "mei", "password": ""})
    assert refused.status_code in (401, 422)


def test_the_request_carries_pkce_state_and_nonce_each_new(guest: Guest, provider: Provider) -> None:
    asked = [{name: value[0] for name, value in parse_qs(urlsplit(guest.begin()).query).items()} for _ in range(2)]
    for one in asked:
        assert (one["response_type"], one["code_challenge_method"]) == ("code", "S256")
        assert one["redirect_uri"] == f"{BASE}/admin/login/oidc/callback"
        assert one["scope"] == "openid profile email"
        assert min(len(one[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    assert all(asked[0][name] != asked[1][name] for name in ("state", "nonce", "code_challenge"))


def test_the_account_is_found_by_its_subject_and_roles_follow_the_claim(app: FastAPI, provider: Provider) -> None:
    assert Guest(app).sign_in().status_code == 303
    users.create_staff_user("root", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    # Another name at the provider, the same person; no administrator any more.
    provider.is_told(person=CHIEF | {"preferred_username": "renamed", "realm": {"roles": ["advisers"]}})
    later = Guest(app)
    assert later.sign_in().status_code == 303
    assert user_named("mei").roles == ["consultant"]
    assert later.client.get("/admin/audit").status_code == 403
    with unit_of_work() as session:
        assert session.scalars(select(Consultant)).one().display_name == "mei"
    assert count(OidcIdentity) == 1


def test_roles_only_userinfo_tells_count_too(guest: Guest, provider: Provider) -> None:
    provider.is_told(person={"sub": "p", "preferred_username": "mei"}, userinfo={"realm": {"roles": "desk"}})
    assert guest.sign_in().status_code == 303
    assert user_named("mei").roles == ["operator"]


@pytest.mark.parametrize(
    "fault", ["issuer", "audience", "nonce", "expired", "foreign_key", "unsigned", "subject", "refuse"]
)
def test_a_token_that_does_not_hold_signs_nobody_in(guest: Guest, provider: Provider, fault: str) -> None:
    provider.is_told(fault=fault)
    answer = guest.sign_in()
    assert answer.status_code == 401
    assert "did not succeed" in answer.text
    refused(guest, answer)


def test_an_answer_to_no_sign_in_of_this_browser_is_refused(app: FastAPI, guest: Guest, provider: Provider) -> None:
    # Somebody else's code, put under this browser's nose.
    foreign = Guest(app)
    address = foreign.at_provider(foreign.begin())
    refused(guest, guest.client.get(address))
    guest.begin()
    answer = guest.client.get(address)
    assert answer.status_code == 401
    refused(guest, answer)


def test_an_answer_counts_once(guest: Guest, provider: Provider) -> None:
    address = guest.at_provider(guest.begin())
    assert guest.client.get(address).status_code == 303
    assert guest.client.get(address).status_code == 401
    assert count(AuthSession) == 1


def test_a_code_from_another_provider_is_refused(guest: Guest, provider: Provider) -> None:
    address = guest.at_provider(guest.begin()).replace("iss=http", "iss=https")
    answer = guest.client.get(address)
    assert answer.status_code == 401
    refused(guest, answer)


@pytest.mark.parametrize(
    ("person", "status", "told"),
    [
        (CHIEF | {"realm": {"roles": ["nobody"]}}, 403, "no role here"),
        (CHIEF | {"realm": "chiefs"}, 403, "no role here"),
        (CHIEF | {"realm": {"roles": {"chiefs": True}}}, 403, "no role here"),
        (CHIEF | {"realm": {"roles": 7}}, 403, "no role here"),
        (CHIEF | {"preferred_username": ""}, 403, "no name"),
        (CHIEF | {"preferred_username": "root"}, 409, "has your name"),
    ],
)
def test_who_may_not_in_is_told_why(
    guest: Guest, provider: Provider, person: dict[str, Any], status: int, told: str
) -> None:
    users.create_staff_user("root", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    provider.is_told(person=person)
    answer = guest.sign_in()
    assert answer.status_code == status
    assert told in answer.text
    refused(guest, answer)


def test_an_account_of_the_same_name_is_taken_over_only_where_that_is_set(guest: Guest, provider: Provider) -> None:
    users.create_staff_user("mei", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    assert guest.sign_in().status_code == 409
    configure(provider.url, link_by_name=True)
    assert guest.sign_in().status_code == 303
    with unit_of_work() as session:
        assert session.scalars(select(OidcIdentity)).one().user_id == user_named("mei").id


def test_nobody_gets_an_account_where_that_is_not_set(guest: Guest, provider: Provider) -> None:
    configure(provider.url, create_accounts=False)
    answer = guest.sign_in()
    assert answer.status_code == 403
    refused(guest, answer)
    assert count(User) == 0


def test_who_is_switched_off_here_stays_out(app: FastAPI, provider: Provider) -> None:
    assert Guest(app).sign_in().status_code == 303
    users.create_staff_user("root", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    users.change_staff_user(user_named("mei").id, StaffChange(is_active=False), actor="test")
    sessions = count(AuthSession)
    later = Guest(app)
    answer = later.sign_in()
    assert answer.status_code == 403
    assert "switched off" in answer.text
    assert count(AuthSession) == sessions
    assert later.client.get("/admin/audit").status_code == 303


def test_the_last_administrator_is_not_made_another_by_a_claim(app: FastAPI, provider: Provider) -> None:
    assert Guest(app).sign_in().status_code == 303
    provider.is_told(person=CHIEF | {"realm": {"roles": ["desk"]}})
    answer = Guest(app).sign_in()
    assert (answer.status_code, user_named("mei").roles) == (409, ["admin"])


def test_a_provider_that_is_away_or_broken_is_said_and_passwords_still_work(
    guest: Guest, provider: Provider, sign_in: SignIn
) -> None:
    provider.is_told(fault="broken")
    answer = guest.sign_in()
    assert answer.status_code == 503
    assert "use a password" in answer.text
    configure("http://127.0.0.1:9")
    assert guest.client.get("/admin/login/oidc").status_code == 503
    assert sign_in("admin").get("/admin/account").status_code == 200


def test_new_keys_of_the_provider_are_fetched(
    app: FastAPI, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Guest(app).sign_in().status_code == 303
    monkeypatch.setattr(oidc_client, "KEYS_AGAIN_SECONDS", 0)
    provider.is_told(rotate=True)
    assert Guest(app).sign_in().status_code == 303


def test_a_wrong_client_secret_signs_nobody_in(guest: Guest, provider: Provider) -> None:
    provider.is_told(client_secret="changed at the provider")
    answer = guest.sign_in()
    assert answer.status_code == 401
    refused(guest, answer)


def test_the_client_secret_is_in_no_version_page_or_audit_entry(admin: Visitor, provider: Provider) -> None:
    page = admin.get("/admin/settings/sign-in")
    history = admin.get("/admin/settings/sign-in/history")
    assert SECRET not in page.text + history.text
    with unit_of_work() as session:
        version = session.scalars(select(SettingsVersion)).one()
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "settings.change")).one()
    assert SECRET not in f"{version.data} {entry.after}"
    stored = unseal(version.data["client_secret"])
    assert stored is not None
    assert stored.get_secret_value() == SECRET


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://provider.example"},
        {"issuer": "javascript:alert(1)"},
        {"issuer": "https://user@provider.example"},
        {"client_id": ""},
        {"admin_values": [], "operator_values": [], "consultant_values": []},
    ],
)
def test_settings_that_could_let_nobody_or_anybody_in_are_refused(provider: Provider, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        configure(provider.url, **wrong)
    assert count(SettingsVersion) == 1


def test_a_new_key_of_ours_leaves_the_client_secret_readable(
    guest: Guest, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_key(value: str) -> None:
        monkeypatch.setattr(get_settings(), "secret_key", SecretStr(value))
        crypto.forget_keys()

    with_key("a-newer-key,the-key-of-the-tests")
    assert reencrypt_all(actor="test")["settings_versions.data"] == 1
    with_key("a-newer-key")
    # As in processes that start anew, with the new key.
    forget_all()
    assert guest.sign_in().status_code == 303
    with_key("quite another key")
    answer = guest.client.get("/admin/login/oidc")
    assert (answer.status_code, "Enter it again" in answer.text) == (503, True)
    monkeypatch.undo()
    crypto.forget_keys()
