"""Agents' pages against a provider process: a preview for one customer, circuits by hand."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, select, text

from core.clock import utc_now
from core.database import unit_of_work
from models import Agent, AgentCall, AgentCircuit, AuditEntry, Journey, Message
from services.automation import current
from services.circuits import gates
from services.gateway.decision import Gate
from tests.admin.conftest import Visitor
from tests.simulators.simproc import running
from tests.support.factories import create_agent, create_journey, create_user

KEY = "app-very-secret"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    apps = ("--app-key", KEY, "--latency-scale", "0", "--no-mcp")
    with running("-m", "simulators.dify", "--port", "0", *apps) as (url, _):
        yield url


@pytest.fixture
def agent(provider: str) -> Agent:
    httpx.post(f"{provider}/__sim__/reset").raise_for_status()
    return create_agent(f"{provider}/v1", api_key=KEY, name="welcome")


@pytest.fixture
def journey(database: str) -> Journey:
    """One that ended long ago: its handle is good for nothing any more."""
    user = create_user(external_id="u-77", username="小美", interests=["skin"])
    return create_journey(user=user, status="succeeded", handle_expires_at=utc_now() - timedelta(days=1))


def newest(action: str) -> AuditEntry:
    with unit_of_work() as session:
        return session.scalars(select(AuditEntry).where(AuditEntry.action == action)).one()


def counted(model: type[AgentCall] | type[Message]) -> int:
    with unit_of_work() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def test_a_preview_is_written_for_that_customer_and_sent_to_nobody(
    admin: Visitor, agent: Agent, journey: Journey, provider: str
) -> None:
    page = admin.post(f"/admin/agents/{agent.id}/preview", {"customer": "u-77"})
    assert page.status_code == 200
    assert "安美智享" in page.text
    assert KEY not in page.text
    (run,) = httpx.get(f"{provider}/__sim__/runs").json()["runs"]
    assert (run["inputs"]["username"], run["inputs"]["user_id"]) == ("小美", journey.handle)
    assert (counted(AgentCall), counted(Message)) == (0, 0)
    entry = newest("agent.preview")
    assert (entry.actor, entry.subject, entry.origin) == (admin.username, f"user:{journey.user_id}", "testclient")


def test_the_agents_tools_answer_for_the_customer_of_a_preview_for_a_while(
    admin: Visitor, agent: Agent, journey: Journey
) -> None:
    admin.post(f"/admin/agents/{agent.id}/preview", {"customer": "u-77"})
    with unit_of_work() as session:
        left = session.execute(text("SELECT handle_expires_at - now() FROM journeys")).scalar_one()
        handle = session.execute(text("SELECT handle FROM journeys")).scalar_one()
    assert timedelta(seconds=60) < left <= timedelta(seconds=120)
    assert handle == journey.handle


@pytest.mark.parametrize(
    ("customer", "status", "told"), [("nobody", 404, "no such customer"), ("u-78", 409, "no journey")]
)
def test_a_preview_for_nobody_asks_no_agent(
    admin: Visitor, agent: Agent, provider: str, customer: str, status: int, told: str
) -> None:
    create_user(external_id="u-78")
    page = admin.post(f"/admin/agents/{agent.id}/preview", {"customer": customer})
    assert page.status_code == status
    assert told in page.text
    assert httpx.get(f"{provider}/__sim__/runs").json()["runs"] == []


def test_a_circuit_is_opened_and_closed_by_hand_and_it_is_written_down(admin: Visitor, agent: Agent) -> None:
    breaker = current().gateway.breaker
    answer = admin.post(f"/admin/agents/{agent.id}/circuit", {"state": "open", "version_id": ""})
    assert answer.headers["location"].endswith("done=circuit-opened")
    assert gates(breaker) == {agent.id: Gate.OPEN}
    entry = newest("agent.circuit")
    assert (entry.before, entry.after) == (
        {"version": None, "circuit": "closed"},
        {"version": None, "circuit": "open"},
    )
    assert (entry.actor, entry.origin) == (admin.username, "testclient")
    assert "is-open" in admin.get(f"/admin/agents/{agent.id}").text
    admin.post(f"/admin/agents/{agent.id}/circuit", {"state": "closed", "version_id": ""})
    assert gates(breaker) == {agent.id: Gate.CLOSED}


def test_a_circuit_of_another_agents_version_is_left_alone(admin: Visitor, agent: Agent) -> None:
    other = create_agent(name="other")
    made = admin.post(
        f"/admin/agents/{other.id}/versions", {"label": "x", "status": "active", "weight": "1", "canary_percent": "0"}
    )
    assert made.status_code == 303
    with unit_of_work() as session:
        version = session.execute(text("SELECT id FROM agent_versions")).scalar_one()
    answer = admin.post(f"/admin/agents/{agent.id}/circuit", {"state": "open", "version_id": str(version)})
    assert answer.status_code == 404
    with unit_of_work() as session:
        assert session.scalars(select(AgentCircuit)).all() == []
