"""Operators see customers masked until they reveal them; each look is audited. Consultants see whom they look after."""

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from core.database import unit_of_work
from models import AuditEntry
from tests.api.conftest import Person, SignIn
from tests.personal.seeding import NAMES, VALUES, Seeded, found, seed

V1 = "/api/v1"
# What names them and is no key an operator works with.
HIDDEN = [VALUES["username"], VALUES["email"], VALUES["phone"], VALUES["phone"][1:], "隆鼻", "您好"]


@pytest.fixture
def seeded(database: str) -> Seeded:
    return seed()


def looks() -> list[tuple[str, str]]:
    with unit_of_work() as session:
        wanted = AuditEntry.action == "personal_data.reveal"
        entries = session.scalars(select(AuditEntry).where(wanted).order_by(AuditEntry.id))
        return [(entry.actor, entry.subject) for entry in entries]


def paths(seeded: Seeded, conversation: str) -> list[str]:
    return [
        f"{V1}/journeys",
        f"{V1}/journeys/{seeded.journey.id}",
        f"{V1}/dead-letters",
        f"{V1}/conversations",
        f"{V1}/conversations/{conversation}",
        f"{V1}/conversations/{conversation}/messages",
    ]


@pytest.fixture
def conversation(seeded: Seeded) -> str:
    return seeded.conversation_id


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_who_repairs_the_machine_sees_nobody_until_they_ask(
    client: TestClient, sign_in: SignIn, seeded: Seeded, conversation: str, role: str
) -> None:
    person = sign_in(role)
    for path in [*paths(seeded, conversation), *([f"{V1}/users"] if role == "admin" else [])]:
        masked = client.get(path, headers=person.headers)
        assert masked.status_code == 200, path
        assert [one for one in HIDDEN if one in masked.text] == [], path
        assert looks() == []
    for path in ("admin/registration-automation/dashboard", "registration-automation/metrics", "alerts"):
        page = client.get(f"{V1}/{path}", headers=person.headers)
        hidden = HIDDEN if path != "alerts" else HIDDEN[1:]
        assert (page.status_code, [one for one in hidden if one in page.text]) == (200, []), path
    for number, path in enumerate(paths(seeded, conversation), start=1):
        revealed = client.get(f"{path}?reveal=true", headers=person.headers)
        assert any(one in revealed.text for one in HIDDEN), path
        assert len(looks()) == number
    assert looks()[1] == (person.username, f"journey:{seeded.journey.id}")
    assert looks()[4] == (person.username, f"conversation:{conversation}")


def test_consultants_and_the_customer_see_the_conversation_without_asking(
    client: TestClient, consultant: Person, seeded: Seeded, conversation: str
) -> None:
    for path in (f"{V1}/conversations/{conversation}", f"{V1}/conversations/{conversation}/messages"):
        assert VALUES["username"] in client.get(path, headers=consultant.headers).text
    assert looks() == []


def test_a_token_of_a_customers_is_a_look_at_them(client: TestClient, operator: Person, seeded: Seeded) -> None:
    minted = client.post(f"{V1}/auth/customer-token", json={"user_id": VALUES["external_id"]}, headers=operator.headers)
    assert minted.status_code == 200
    headers = {"Authorization": f"Bearer {minted.json()['data']['access_token']}"}
    assert VALUES["username"] in client.get(f"{V1}/conversations", headers=headers).text
    assert looks() == [(operator.username, f"user:{seeded.user.id}")]
    nobody = client.post(f"{V1}/auth/customer-token", json={"user_id": "nobody"}, headers=operator.headers)
    assert nobody.status_code == 404
    assert len(looks()) == 1


def test_a_look_at_nothing_is_no_look(client: TestClient, operator: Person) -> None:
    for path in (f"{V1}/journeys/01980000-0000-7000-8000-000000000000", f"{V1}/journeys"):
        client.get(f"{path}?reveal=true", headers=operator.headers)
    assert looks() == []


def test_an_act_of_an_operator_shows_nobody_either(
    client: TestClient, operator: Person, seeded: Seeded, conversation: str
) -> None:
    answer = client.put(
        f"{V1}/conversations/{conversation}/ai-control", json={"enabled": True}, headers=operator.headers
    )
    assert answer.status_code == 200
    assert [one for one in HIDDEN if one in answer.text] == []


def test_masked_inputs_are_not_taken_back(client: TestClient, operator: Person, seeded: Seeded) -> None:
    listed = client.get(f"{V1}/dead-letters?journey_id={seeded.journey.id}", headers=operator.headers)
    letter = listed.json()["data"]["items"][0]
    assert letter["payload"] == {"username": "甄***", "user_id": VALUES["external_id"]}
    answer = client.post(
        f"{V1}/dead-letters/{letter['id']}/replay", json={"payload": {"username": "甄***"}}, headers=operator.headers
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_INPUT")


def test_nothing_personal_gets_into_the_audit_log(client: TestClient, operator: Person, seeded: Seeded) -> None:
    listed = client.get(f"{V1}/dead-letters?journey_id={seeded.journey.id}", headers=operator.headers)
    letter = listed.json()["data"]["items"][0]
    reason = f"{VALUES['username']} {VALUES['phone']} {VALUES['email']} called"
    assert client.post(
        f"{V1}/dead-letters/{letter['id']}/discard", json={"reason": reason}, headers=operator.headers
    ).is_success
    client.post(
        f"{V1}/conversations/{seeded.conversation_id}/release", json={"reason": reason}, headers=operator.headers
    )
    assert "audit_log" not in found(NAMES)
    with unit_of_work() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "dead_letter.discard")).one()
    assert entry.after == {"reason": "*** *** *** called"}


def test_a_person_is_exported_and_erased_by_an_administrator_only(
    client: TestClient, app: FastAPI, admin: Person, operator: Person, seeded: Seeded
) -> None:
    path = f"{V1}/users/{seeded.user.id}"
    erase = {"reason": "asked", "confirm": str(seeded.user.id)}
    assert client.get(f"{path}/export", headers=operator.headers).status_code == 403
    assert client.post(f"{path}/erase", json=erase, headers=operator.headers).status_code == 403
    exported = client.get(f"{path}/export", headers=admin.headers)
    assert exported.headers["cache-control"] == "no-store"
    assert exported.json()["data"]["tables"]["users"][0]["phone"] == VALUES["phone"]
    wrong = client.post(f"{path}/erase", json=erase | {"confirm": str(seeded.other.id)}, headers=admin.headers)
    assert wrong.status_code == 422
    assert set(found(NAMES)) > {"users", "messages"}
    erased = client.post(f"{path}/erase", json=erase, headers=admin.headers)
    assert erased.status_code == 200
    assert erased.json()["data"]["rows"]["users"] == 1
    assert found(NAMES) == {}
    staff = client.post(
        f"{V1}/users/{admin.user_id}/erase", json={"reason": "x", "confirm": str(admin.user_id)}, headers=admin.headers
    )
    assert (staff.status_code, staff.json()["code"]) == (409, "NOT_A_CUSTOMER")
    gone = client.get(f"{V1}/conversations/{seeded.conversation_id}", headers=admin.headers)
    assert gone.status_code == 404
    journey = client.get(f"{V1}/journeys/{seeded.journey.id}?reveal=true", headers=operator.headers)
    assert (journey.status_code, journey.json()["data"]["reason"]) == (200, "erased")
