"""Journeys and dead letters through the API."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from core.clock import utc_now
from core.database import unit_of_work
from core.ids import new_id
from models import AuditEntry, DeadLetter, Journey, JourneyStatus, JourneyStep, StepName, StepStatus
from tests.api.conftest import Person
from tests.support.factories import create_conversation, create_journey, create_user

V1 = "/api/v1"


def fail(journey_id: UUID, step: StepName = StepName.CREATE_CONVERSATION, code: str = "BOOM") -> UUID:
    """Leave the journey as the engine leaves one whose step failed for good; return the dead letter."""
    letter = DeadLetter(
        id=new_id(), journey_id=journey_id, step=step, error_code=code, error_text="it broke", attempts=4
    )
    with unit_of_work() as session:
        session.add(letter)
        session.execute(update(Journey).where(Journey.id == journey_id).values(status=JourneyStatus.FAILED))
        session.execute(
            update(JourneyStep)
            .where(JourneyStep.journey_id == journey_id, JourneyStep.name == step)
            .values(status=StepStatus.FAILED, due_at=None, sweep_at=None, error_code=code)
        )
    return letter.id


def _ids(client: TestClient, person: Person, **params: Any) -> list[str]:
    ids: list[str] = []
    while True:
        answer = client.get(f"{V1}/journeys", params=params, headers=person.headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()["data"]
        ids += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            return ids
        params["cursor"] = page["next_cursor"]


def test_journeys_are_listed_newest_first_filtered_and_paged(client: TestClient, operator: Person) -> None:
    user = create_user()
    journeys = [create_journey().id for _ in range(4)] + [create_journey(user=user).id]
    fail(journeys[1])
    newest_first = [str(one) for one in journeys[::-1]]
    assert _ids(client, operator, limit=2) == newest_first
    assert _ids(client, operator, status="failed") == [str(journeys[1])]
    assert _ids(client, operator, step="create_conversation", limit=3) == newest_first
    assert _ids(client, operator, step="notify_consultants") == []
    assert _ids(client, operator, user_id=user.external_id) == [str(journeys[4])]
    assert _ids(client, operator, user_id=str(user.id)) == [str(journeys[4])]
    assert _ids(client, operator, user_id="nobody") == []
    later = (utc_now() + timedelta(minutes=1)).isoformat()
    assert _ids(client, operator, **{"from": later}) == []
    assert _ids(client, operator, to=later) == newest_first


@pytest.mark.parametrize(
    "query",
    ["status=odd", "step=odd", "from=yesterday", "from=2026-01-01T00:00:00", "limit=0", "limit=1000", "user_id=%00"],
)
def test_a_wrong_filter_is_the_callers_fault(client: TestClient, operator: Person, query: str) -> None:
    answer = client.get(f"{V1}/journeys?{query}", headers=operator.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_INPUT")


def test_a_journey_is_shown_whole_with_one_timeline(client: TestClient, operator: Person, consultant: Person) -> None:
    user = create_user(username="小美")
    journey = create_journey(user=user)
    conversation = create_conversation(customer=user, journey_id=journey.id)
    fail(journey.id, StepName.GENERATE_WELCOME)
    client.post(f"{V1}/conversations/{conversation.id}/claim", headers=consultant.headers)
    data = client.get(f"{V1}/journeys/{journey.id}", headers=operator.headers).json()["data"]
    assert (data["username"], data["conversation_id"], data["status"]) == ("小***", str(conversation.id), "failed")
    assert [(step["name"], step["status"]) for step in data["steps"]] == [
        ("create_conversation", "pending"),
        ("generate_welcome", "failed"),
        ("notify_consultants", "pending"),
    ]
    assert [one["error_code"] for one in data["dead_letters"]] == ["BOOM"]
    assert [one["consultant_name"] for one in data["claims"]] == [consultant.username]
    assert data["timeline"][0]["kind"] == "journey"
    assert [moment["at"] for moment in data["timeline"]] == sorted(moment["at"] for moment in data["timeline"])
    missing = client.get(f"{V1}/journeys/{new_id()}", headers=operator.headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "JOURNEY_NOT_FOUND")
    assert client.get(f"{V1}/journeys/not-an-id", headers=operator.headers).status_code == 422


def test_a_replayed_journey_is_due_again_and_its_dead_letter_closed(client: TestClient, operator: Person) -> None:
    journey = create_journey()
    letter = fail(journey.id)
    answer = client.post(f"{V1}/journeys/{journey.id}/replay", headers=operator.headers)
    assert answer.json()["data"] == {"journey_id": str(journey.id), "step": "create_conversation"}
    with unit_of_work() as session:
        step = session.scalars(
            select(JourneyStep).where(JourneyStep.journey_id == journey.id, JourneyStep.position == 0)
        ).one()
        assert (step.status, step.due_at is not None) == ("pending", True)
        assert session.get_one(DeadLetter, letter).status == "replayed"
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "journey.replay")).one()
        assert (entry.actor, entry.origin) == (operator.username, "testclient")
    later = client.post(
        f"{V1}/journeys/{journey.id}/replay", json={"from_step": "notify_consultants"}, headers=operator.headers
    )
    assert (later.status_code, later.json()["code"]) == (409, "STEP_NOT_DUE")


def test_a_cancelled_journey_stays_cancelled(client: TestClient, operator: Person) -> None:
    journey = create_journey()
    assert client.post(f"{V1}/journeys/{journey.id}/cancel", headers=operator.headers).status_code == 200
    again = client.post(f"{V1}/journeys/{journey.id}/cancel", headers=operator.headers)
    assert (again.status_code, again.json()["code"]) == (409, "JOURNEY_FINISHED")
    with unit_of_work() as session:
        assert session.get_one(Journey, journey.id).status == "cancelled"


def test_dead_letters_are_listed_replayed_and_discarded(client: TestClient, operator: Person) -> None:
    letters = [fail(create_journey().id, code=code) for code in ("A", "B", "B", "C")]
    path = f"{V1}/dead-letters"

    def listed(**params: Any) -> list[str]:
        page = client.get(path, params=params, headers=operator.headers).json()["data"]
        return [one["id"] for one in page["items"]]

    assert listed() == [str(one) for one in letters[::-1]]
    assert listed(error_code="B") == [str(letters[2]), str(letters[1])]
    first = client.get(path, params={"limit": 3}, headers=operator.headers).json()["data"]
    assert listed(cursor=first["next_cursor"]) == [str(letters[0])]

    wrong = client.post(f"{path}/{letters[0]}/replay", json={"payload": {"odd": 1}}, headers=operator.headers)
    assert wrong.status_code == 422
    replayed = client.post(
        f"{path}/{letters[0]}/replay", json={"payload": {"title": "另一个"}}, headers=operator.headers
    )
    assert replayed.status_code == 200
    twice = client.post(f"{path}/{letters[0]}/replay", headers=operator.headers)
    assert (twice.status_code, twice.json()["code"]) == (409, "DEAD_LETTER_NOT_OPEN")

    many = client.post(f"{path}/replay", json={"filter": {"error_code": "B"}}, headers=operator.headers)
    assert many.json()["data"]["count"] == 2
    progress = f"{path}/replays/{many.json()['data']['replay_id']}"
    found = client.get(progress, headers=operator.headers).json()["data"]
    numbers = {name: found[name] for name in ("total", "waiting", "running", "succeeded", "failed", "cancelled")}
    assert numbers == {"total": 2, "waiting": 1, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert (found["is_done"], found["filter"]) == (False, {"error_code": "B"})
    missing = client.get(f"{path}/replays/9999", headers=operator.headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "REPLAY_NOT_FOUND")
    for wrong_body in ({}, {"filter": {"odd": 1}}, {"filter": {}, "per_second": 0}):
        assert client.post(f"{path}/replay", json=wrong_body, headers=operator.headers).status_code == 422

    for body in ({}, {"reason": ""}, {"reason": "x" * 201}):
        assert client.post(f"{path}/{letters[3]}/discard", json=body, headers=operator.headers).status_code == 422
    assert listed(status="open") == [str(letters[3])]
    gone = client.post(f"{path}/{letters[3]}/discard", json={"reason": "a test"}, headers=operator.headers)
    with unit_of_work() as session:
        journey = session.get_one(Journey, UUID(gone.json()["data"]["journey_id"]))
        assert (journey.status, journey.reason) == ("cancelled", "discarded: a test")
    assert listed(status="open") == []
