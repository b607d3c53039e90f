"""Agents and versions through the API: keys never shown, changes audited, the record of calls kept."""

from typing import Any

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from core.crypto import decrypt
from core.database import unit_of_work
from core.ids import new_id
from models import Agent, AgentCall, AuditEntry
from services import agents
from tests.api.conftest import Person
from tests.support.factories import create_journey

PATH = "/api/v1/agents"
NEW = {"name": "welcome", "base_url": "http://127.0.0.1:9/v1/", "api_key": "app-very-secret", "timeout_ms": 1000}


def _create(client: TestClient, admin: Person, **fields: Any) -> dict[str, Any]:
    answer = client.post(PATH, json=NEW | fields, headers=admin.headers)
    assert answer.status_code == 201, answer.text
    assert "app-very-secret" not in answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def test_an_agent_is_made_changed_and_in_force_and_its_key_never_shown(client: TestClient, admin: Person) -> None:
    made = _create(client, admin)
    assert made["base_url"] == "http://127.0.0.1:9/v1"
    assert [one.name for one in agents.known()] == ["welcome"]
    path = f"{PATH}/{made['id']}"
    changed = client.patch(path, json={"timeout_ms": 5000, "api_key": "app-new-secret"}, headers=admin.headers)
    assert changed.json()["data"]["timeout_ms"] == 5000
    assert changed.json()["data"]["name"] == "welcome"
    assert client.patch(path, json={"enabled": False}, headers=admin.headers).status_code == 200
    with unit_of_work() as session:
        row = session.scalars(select(Agent)).one()
        assert decrypt(row.api_key_encrypted).get_secret_value() == "app-new-secret"
        assert (row.enabled, row.timeout_ms) == (False, 5000)
        entries = session.scalars(
            select(AuditEntry).where(AuditEntry.action.startswith("agent.")).order_by(AuditEntry.id)
        ).all()
    assert [entry.action for entry in entries] == ["agent.create", "agent.change", "agent.change"]
    told = str([(entry.before, entry.after) for entry in entries])
    assert "secret" not in told
    listed = client.get(PATH, headers=admin.headers)
    assert "secret" not in listed.text
    assert len(listed.json()["data"]["items"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://x"},
        {"base_url": "not a url"},
        {"provider": "other"},
        {"mode": "odd"},
        {"timeout_ms": 1},
        {"api_key": ""},
        {"name": ""},
        {"odd": 1},
    ],
)
def test_an_agent_that_cannot_work_is_not_made(client: TestClient, admin: Person, wrong: dict[str, Any]) -> None:
    answer = client.post(PATH, json=NEW | wrong, headers=admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_INPUT")
    assert "app-very-secret" not in answer.text
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Agent)) == 0


def test_a_taken_name_is_a_conflict(client: TestClient, admin: Person) -> None:
    _create(client, admin)
    other = _create(client, admin, name="other")
    assert client.post(PATH, json=NEW, headers=admin.headers).json()["code"] == "AGENT_EXISTS"
    renamed = client.patch(f"{PATH}/{other['id']}", json={"name": "welcome"}, headers=admin.headers)
    assert (renamed.status_code, renamed.json()["code"]) == (409, "AGENT_EXISTS")


def test_a_check_says_why_not(client: TestClient, admin: Person) -> None:
    made = _create(client, admin)
    data = client.post(f"{PATH}/{made['id']}/check", headers=admin.headers).json()["data"]
    assert data["ok"] is False
    assert data["error_code"]
    assert "app-very-secret" not in str(data)
    missing = client.post(f"{PATH}/{new_id()}/check", headers=admin.headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "AGENT_NOT_FOUND")


def test_versions_are_numbered_and_drawn_as_set(client: TestClient, admin: Person) -> None:
    path = f"{PATH}/{_create(client, admin)['id']}/versions"
    first = client.post(path, json={"label": "as is"}, headers=admin.headers).json()["data"]
    second = client.post(
        path, json={"status": "canary", "canary_percent": 10, "instruction": "Be brief."}, headers=admin.headers
    ).json()["data"]
    assert [first["number"], second["number"]] == [1, 2]
    raised = client.patch(f"{path}/{second['id']}", json={"canary_percent": 50}, headers=admin.headers)
    assert (raised.json()["data"]["canary_percent"], raised.json()["data"]["status"]) == (50, "canary")
    for wrong in ({"canary_percent": 101}, {"status": "rolled_back"}, {"weight": -1}):
        assert client.patch(f"{path}/{second['id']}", json=wrong, headers=admin.headers).status_code == 422
    items = client.get(path, headers=admin.headers).json()["data"]["items"]
    assert [one["number"] for one in items] == [2, 1]


def test_the_figures_of_an_agent_on_record_show(client: TestClient, admin: Person) -> None:
    made, unused = _create(client, admin), _create(client, admin, name="unused", position=1)
    journey = create_journey()
    with unit_of_work() as session:
        for status, code in (("succeeded", None), ("succeeded", None), ("failed", "AGENT_TRANSIENT")):
            session.add(
                AgentCall(
                    journey_id=journey.id,
                    attempt=1,
                    agent_id=made["id"],
                    status=status,
                    error_code=code,
                    duration_ms=100,
                )
            )
    assert client.delete(f"{PATH}/{unused['id']}", headers=admin.headers).status_code == 200
    (stats,) = client.get(f"{PATH}/stats", headers=admin.headers).json()["data"]["items"]
    assert (stats["agent_name"], stats["calls"], stats["succeeded"], stats["failed"]) == ("welcome", 3, 2, 1)
    assert stats["success_rate"] == pytest.approx(2 / 3)
    assert (stats["p50_ms"], stats["circuit"]) == (100, "closed")
    assert (stats["journeys"], stats["fallback_rate"], stats["running"]) == (1, 0, 0)
    assert stats["success_rate_low"] == pytest.approx(0.2077, abs=1e-4)
    assert stats["success_rate_high"] == pytest.approx(0.9385, abs=1e-4)
    assert client.delete(f"{PATH}/{made['id']}", headers=admin.headers).status_code == 200
    assert client.get(f"{PATH}/stats", headers=admin.headers).json()["data"]["items"] == []
    assert client.patch(f"{PATH}/{made['id']}", json={"enabled": True}, headers=admin.headers).status_code == 404
    assert client.delete(f"{PATH}/{made['id']}", headers=admin.headers).status_code == 404
    with unit_of_work() as session:
        (row,) = session.scalars(select(Agent)).all()
        assert (row.enabled, decrypt(row.api_key_encrypted).get_secret_value()) == (False, "")
        assert session.scalar(select(func.count()).select_from(AgentCall)) == 3
    assert agents.known() == ()
    _create(client, admin)
