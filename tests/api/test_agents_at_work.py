"""Agents through the API against a real provider process: checks, canaries, circuits, and a rating's way to the provider."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from core.database import unit_of_work
from core.ids import new_id
from models import AgentCircuit, AuditEntry
from services import agents
from services.gateway.decision import Strategy
from services.gateway.settings import BreakerSettings, GatewaySettings
from services.steps.conversation import create_conversation
from services.steps.welcome import generate_welcome
from tasks import publish
from tests.api.conftest import Person
from tests.engine.conftest import accept, rows
from tests.simulators.simproc import running

PATH = "/api/v1/agents"
KEY = "app-very-secret"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    apps = ("--app-key", KEY, "--app-key", "app-other-secret:normal:chatflow")
    with running("-m", "simulators.dify", "--port", "0", *apps, "--latency-scale", "0", "--no-mcp") as (url, _):
        yield url


@pytest.fixture
def agent(provider: str, client: TestClient, admin: Person) -> dict[str, Any]:
    httpx.post(f"{provider}/__sim__/reset").raise_for_status()
    new = {"name": "welcome", "base_url": f"{provider}/v1", "api_key": KEY}
    made: dict[str, Any] = client.post(PATH, json=new, headers=admin.headers).json()["data"]
    return made


def checked(client: TestClient, admin: Person, agent_id: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"{PATH}/{agent_id}/check", json=body, headers=admin.headers)
    assert answer.status_code == 200, answer.text
    assert "secret" not in answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def test_a_check_asks_who_it_is_and_has_one_message_written_for_nobody(
    client: TestClient, admin: Person, agent: dict[str, Any], provider: str
) -> None:
    data = checked(client, admin, agent["id"])
    assert [(one["check"], one["ok"]) for one in data["findings"]] == [
        ("info", True),
        ("mode", True),
        ("message", True),
        ("guard", True),
    ]
    assert (data["ok"], data["mode"], data["error_code"]) == (True, "agent", None)
    assert "安美智享" in data["answer"]
    (run,) = httpx.get(f"{provider}/__sim__/runs").json()["runs"]
    assert run["inputs"]["user_id"].startswith("jrn_")
    assert rows("SELECT count(*) FROM agent_calls") == [(0,)]
    with unit_of_work() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "agent.check")).one()
    assert entry.after == {"version_id": None, "failed": None}


@pytest.mark.parametrize(
    ("fault", "check", "code"),
    [
        ({"kind": "http_error", "status": 500}, "message", "AGENT_UNAVAILABLE"),
        ({"kind": "leaked_error_text"}, "guard", "ANSWER_REFUSED"),
        ({"kind": "empty_answer"}, "message", "AGENT_EMPTY_ANSWER"),
    ],
)
def test_a_check_says_what_a_customer_would_not_have_got(
    client: TestClient,
    admin: Person,
    agent: dict[str, Any],
    provider: str,
    fault: dict[str, Any],
    check: str,
    code: str,
) -> None:
    httpx.post(f"{provider}/__sim__/faults", json=fault).raise_for_status()
    data = checked(client, admin, agent["id"])
    assert (data["ok"], data["findings"][-1]["check"], data["error_code"]) == (False, check, code)
    assert data["answer"] is None


def test_a_check_compares_the_mode_and_sends_no_message_to_another_kind(
    client: TestClient, admin: Person, agent: dict[str, Any], provider: str
) -> None:
    made = client.post(f"{PATH}/{agent['id']}/versions", json={"api_key": "app-other-secret"}, headers=admin.headers)
    data = checked(client, admin, agent["id"], version_id=made.json()["data"]["id"])
    assert (data["ok"], data["mode"], data["error_code"]) == (False, "chatflow", "AGENT_MODE_DIFFERS")
    assert httpx.get(f"{provider}/__sim__/runs").json()["runs"] == []
    missing = client.post(f"{PATH}/{agent['id']}/check", json={"version_id": str(new_id())}, headers=admin.headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "AGENT_VERSION_NOT_FOUND")


def test_a_new_key_closes_the_circuit_and_a_new_name_does_not(
    client: TestClient, admin: Person, agent: dict[str, Any]
) -> None:
    path = f"{PATH}/{agent['id']}"
    for change, state in (({"name": "renamed"}, "open"), ({"api_key": KEY}, "closed")):
        with unit_of_work() as session:
            session.merge(AgentCircuit(id=agent["id"], agent_id=agent["id"], state="open", opened_times=2))
        assert client.patch(path, json=change, headers=admin.headers).status_code == 200
        with unit_of_work() as session:
            row = session.scalars(select(AgentCircuit)).one()
            assert (row.state, row.opened_times) == (state, 2 if state == "open" else 0)


def test_canaries_leave_customers_to_the_others_and_are_promoted_or_retired(
    client: TestClient, admin: Person, agent: dict[str, Any]
) -> None:
    path = f"{PATH}/{agent['id']}/versions"

    def made(**fields: Any) -> Any:
        return client.post(path, json=fields, headers=admin.headers)

    assert made(status="canary").status_code == 422
    first = made(status="canary", canary_percent=60).json()["data"]
    assert made(status="canary", canary_percent=41).json()["code"] == "INVALID_INPUT"
    assert len(client.get(path, headers=admin.headers).json()["data"]["items"]) == 1
    promoted = client.patch(f"{path}/{first['id']}", json={"status": "active"}, headers=admin.headers).json()["data"]
    assert (promoted["status"], promoted["canary_percent"]) == ("active", 0)
    assert promoted["status_changed_at"] > first["status_changed_at"]
    retired = client.patch(f"{path}/{first['id']}", json={"status": "retired"}, headers=admin.headers).json()["data"]
    assert retired["status"] == "retired"
    assert str(admin.user_id) in retired["status_reason"] or admin.username in retired["status_reason"]


def test_a_canary_alone_leaves_everybody_else_to_the_agent_as_it_is(
    client: TestClient, admin: Person, agent: dict[str, Any]
) -> None:
    canary = client.post(
        f"{PATH}/{agent['id']}/versions", json={"status": "canary", "canary_percent": 10}, headers=admin.headers
    ).json()["data"]
    known = agents.directory()
    with unit_of_work() as session:
        situation = agents.situation(session, known, GatewaySettings(breaker=BreakerSettings()))
    orders = [
        [str(one.version.key) for one in situation.order(new_id(), Strategy.AGENT_THEN_TEMPLATE)] for _ in range(300)
    ]
    assert {tuple(order) for order in orders} == {(agent["id"],), (canary["id"], agent["id"])}
    assert 5 < sum(order[0] == canary["id"] for order in orders) < 70


def test_a_rating_goes_to_the_provider_after_the_answer(
    client: TestClient, admin: Person, operator: Person, agent: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []

    def send(signature: Any, what: str) -> bool:
        sent.append((what, signature.kwargs))
        return True

    monkeypatch.setattr(publish, "_send", send)
    journeys = accept()
    create_conversation(journeys)
    generate_welcome(journeys, on_ready=lambda _: None)
    ((message_id, external_id),) = rows(
        "SELECT m.id, u.external_id FROM messages m JOIN journeys j ON j.id = m.journey_id JOIN users u ON u.id = j.user_id"
    )
    minted = client.post("/api/v1/auth/customer-token", json={"user_id": external_id}, headers=operator.headers)
    headers = {"Authorization": f"Bearer {minted.json()['data']['access_token']}"}
    for rating in (5, 3):
        answer = client.post(f"/api/v1/messages/{message_id}/feedback", json={"rating": rating}, headers=headers)
        assert answer.status_code == 200
    assert sent == [("agent_feedback", {"message_ids": [str(message_id)]})] * 2
    assert rows("SELECT status, verdict, revision FROM agent_feedback") == [("pending", None, 2)]
