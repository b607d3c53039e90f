"""The panel's figures, computed from the record."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from core.clock import utc_now
from core.database import unit_of_work
from core.ids import new_id
from models import AgentCall, Conversation, Feedback, Journey, Message
from services import panel
from tests.api.conftest import Person
from tests.api.test_journeys import fail
from tests.support.factories import create_agent, create_conversation, create_journey, create_user

METRICS = "/api/v1/registration-automation/metrics"
DASHBOARD = "/api/v1/admin/registration-automation/dashboard"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    panel.forget()
    yield
    panel.forget()


def greeted(source: str, after_ms: int) -> Journey:
    """A journey that ended well, greeted that many milliseconds after its acceptance."""
    accepted = utc_now() - timedelta(seconds=30)
    return create_journey(
        status="succeeded",
        accepted_at=accepted,
        greeted_at=accepted + timedelta(milliseconds=after_ms),
        greeted_by=source,
        notified_at=accepted + timedelta(milliseconds=after_ms),
        finished_at=accepted + timedelta(seconds=10),
        open_steps=0,
    )


def test_an_empty_installation_has_figures_and_no_rates(client: TestClient, operator: Person) -> None:
    metrics = client.get(METRICS, headers=operator.headers).json()["data"]
    assert metrics["automation_success_rate"] is None
    assert {day["count"] for day in metrics["daily_registrations"]} == {0}
    assert metrics["mcp_metrics"] == {"calls": 0, "errors": 0, "error_rate": None, "tools": []}
    data = client.get(DASHBOARD, headers=operator.headers).json()["data"]
    assert data["automation_metrics"]["total_automations"] == 0
    assert data["system_health"]["database_status"] == "ok"
    assert data["recent_errors"] == []


def test_success_latency_and_errors_come_from_the_record(client: TestClient, operator: Person) -> None:
    journeys = [greeted("agent", 1000), greeted("agent", 2000), greeted("template", 6000)]
    failed = create_journey()
    fail(failed.id, code="BOOM")
    agent = create_agent()
    with unit_of_work() as session:
        session.add(
            AgentCall(journey_id=journeys[0].id, attempt=1, agent_id=agent.id, status="succeeded", duration_ms=900)
        )
    metrics = client.get(METRICS, headers=operator.headers).json()["data"]
    assert metrics["automation_success_rate"] == 0.75
    assert metrics["daily_registrations"][-1]["count"] == 4
    welcomes = metrics["welcome_message_stats"]
    assert (welcomes["total"], welcomes["by_agent"], welcomes["by_template"], welcomes["p50_ms"]) == (3, 2, 1, 2000)
    assert welcomes["in_time_share"] == pytest.approx(2 / 3)
    assert metrics["dify_agent_status"][0]["success_rate"] == 1

    data = client.get(DASHBOARD, headers=operator.headers).json()["data"]
    automation = data["automation_metrics"]
    assert (automation["success_rate"], automation["total_automations"], automation["registrations_today"]) == (
        0.75,
        4,
        4,
    )
    assert (automation["dify_call_count"], automation["mcp_call_count"]) == (1, 0)
    assert automation["average_response_time"] == 2000
    assert [(one["error_code"], one["journey_id"]) for one in data["recent_errors"]] == [("BOOM", str(failed.id))]
    assert data["system_health"]["dify_response_time"] == 900


def test_business_figures_come_from_claims_messages_and_ratings(
    client: TestClient, operator: Person, consultant: Person
) -> None:
    journey = greeted("agent", 1000)
    with unit_of_work() as session:
        user_id = session.get_one(Journey, journey.id).user_id
    conversation = create_conversation(customer=create_user(), journey_id=journey.id)
    with unit_of_work() as session:
        session.execute(update(Conversation).where(Conversation.id == conversation.id).values(customer_id=user_id))
        welcome = Message(
            id=new_id(),
            conversation_id=conversation.id,
            sender_type="ai",
            content={},
            journey_id=journey.id,
            source="agent",
        )
        asked = Message(conversation_id=conversation.id, sender_type="customer", sender_id=user_id, content={})
        session.add_all([welcome, asked])
        session.flush()
        session.add(Feedback(message_id=welcome.id, user_id=user_id, rating=4))
    client.post(f"/api/v1/conversations/{conversation.id}/claim", headers=consultant.headers)
    client.post(f"/api/v1/conversations/{conversation.id}/messages", json={"text": "您好"}, headers=consultant.headers)
    business = client.get(DASHBOARD, headers=operator.headers).json()["data"]["business"]
    assert (business["welcome_ratings"], business["welcome_rating_average"]) == (1, 4)
    assert (business["claims"], business["claims_in_time_share"]) == (1, 1)
    assert 28_000 < business["claim_p50_ms"] < 60_000
    assert business["first_responses"] == 1
    assert business["conversion_share"] == 1


@pytest.mark.parametrize("window", ["", "2d", "7"])
def test_a_stretch_that_is_none_is_refused(client: TestClient, operator: Person, window: str) -> None:
    assert client.get(METRICS, params={"window": window}, headers=operator.headers).status_code == 422
