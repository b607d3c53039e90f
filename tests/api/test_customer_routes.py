"""What a customer may do with conversations, route by route: the table below must name every route there is."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from core.database import unit_of_work
from core.ids import new_id
from models import AuditEntry, Claim, Consultant, Conversation, Feedback, Message, User
from tests.api.conftest import Person, SignIn
from tests.support.factories import create_conversation

V1 = "/api/v1"
# Nobody's name for a consultant, so that a transfer that is let through is seen.
CONSULTANT = "{a consultant}"


@dataclass(frozen=True)
class Route:
    """What is sent, and what a customer is answered: in their own conversation, and in somebody else's."""

    own: int
    foreign: int
    body: dict[str, Any] | None = None


ROUTES = {
    "GET /api/v1/conversations": Route(200, 200),
    "GET /api/v1/conversations/{conversation_id}": Route(200, 404),
    "GET /api/v1/conversations/{conversation_id}/messages": Route(200, 404),
    "POST /api/v1/conversations/{conversation_id}/messages": Route(201, 404, {"text": "在吗？"}),
    "POST /api/v1/conversations/{conversation_id}/read": Route(200, 404),
    "POST /api/v1/messages/{message_id}/feedback": Route(200, 404, {"rating": 4}),
    "POST /api/v1/conversations/{conversation_id}/claim": Route(403, 403),
    "POST /api/v1/conversations/{conversation_id}/release": Route(403, 404),
    "POST /api/v1/conversations/{conversation_id}/transfer": Route(403, 404, {"consultant_id": CONSULTANT}),
    "PUT /api/v1/conversations/{conversation_id}/ai-control": Route(403, 404, {"enabled": False}),
}


@pytest.fixture
def conversation(customer: Person) -> Conversation:
    with unit_of_work() as session:
        user = session.get_one(User, customer.user_id)
    return create_conversation(customer=user)


def consultant_id(consultant: Person, client: TestClient) -> str:
    listed = client.get(f"{V1}/consultants", headers=consultant.headers).json()["data"]
    return str(listed[0]["consultant_id"])


def welcome(conversation: Conversation) -> UUID:
    message = Message(
        id=new_id(),
        conversation_id=conversation.id,
        sender_type="ai",
        content={"type": "text", "text": "欢迎"},
        source="template",
    )
    with unit_of_work() as session:
        session.add(message)
    return message.id


def state(conversation: Conversation) -> tuple[Any, ...]:
    """Return all that a customer could have changed of whose the conversation is."""
    with unit_of_work() as session:
        found = session.get_one(Conversation, conversation.id)
        claims = session.scalar(select(func.count()).select_from(Claim))
        deeds = session.scalar(
            select(func.count()).select_from(AuditEntry).where(AuditEntry.action.startswith("conversation."))
        )
        return found.claimed_by_id, found.ai_controlled, claims, deeds


def test_the_table_names_every_route_of_conversations(app: FastAPI) -> None:
    there = {
        f"{method.upper()} {path}"
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if "conversations" in operation.get("tags", [])
    }
    assert there == set(ROUTES)


@pytest.mark.parametrize("claimed", [False, True], ids=["waiting", "claimed"])
@pytest.mark.parametrize("name", ROUTES)
def test_a_customer_changes_nothing_of_whose_their_conversation_is(
    client: TestClient, customer: Person, consultant: Person, conversation: Conversation, name: str, claimed: bool
) -> None:
    foreign, route = create_conversation(), ROUTES[name]
    if claimed:
        for one in (conversation, foreign):
            client.post(f"{V1}/conversations/{one.id}/claim", headers=consultant.headers).raise_for_status()
    there = consultant_id(consultant, client)
    body = {key: there if value == CONSULTANT else value for key, value in (route.body or {}).items()}
    method, path = name.split(" ")
    for one, status in ((conversation, route.own), (foreign, route.foreign)):
        before = state(one)
        said = welcome(one)
        filled = path.format(conversation_id=one.id, message_id=said)
        answer = client.request(method, filled, json=body or None, headers=customer.headers)
        assert answer.status_code == status, answer.text
        assert state(one) == before
        # Of what is somebody else's nothing is stored either, and nothing shown.
        if one is foreign:
            assert str(foreign.id) not in answer.text.replace(filled, "")
            with unit_of_work() as session:
                words = select(func.count()).select_from(Message).where(Message.conversation_id == foreign.id)
                rated = select(func.count()).select_from(Feedback).where(Feedback.message_id == said)
                assert (session.scalar(words), session.scalar(rated)) == (1, 0)


def test_a_consultant_who_was_switched_off_has_no_conversation_either(
    client: TestClient, sign_in: SignIn, conversation: Conversation, consultant: Person
) -> None:
    # The role without the row: as between being switched off there and being signed out here.
    idle = sign_in("consultant")
    with unit_of_work() as session:
        session.scalars(select(Consultant).where(Consultant.user_id == idle.user_id)).one().enabled = False
    before = state(conversation)
    path = f"{V1}/conversations/{conversation.id}"
    moved = {"consultant_id": consultant_id(consultant, client)}
    assert client.post(f"{path}/transfer", json=moved, headers=idle.headers).status_code == 403
    assert client.put(f"{path}/ai-control", json={"enabled": False}, headers=idle.headers).status_code == 403
    assert state(conversation) == before


def test_an_operator_hands_over_and_switches_the_ai_of_a_conversation_nobody_has(
    client: TestClient, operator: Person, consultant: Person, conversation: Conversation
) -> None:
    path, there = f"{V1}/conversations/{conversation.id}", consultant_id(consultant, client)
    switched = client.put(f"{path}/ai-control", json={"enabled": False}, headers=operator.headers)
    assert (switched.status_code, switched.json()["data"]["ai_controlled"]) == (200, False)
    moved = client.post(f"{path}/transfer", json={"consultant_id": there}, headers=operator.headers)
    assert (moved.status_code, moved.json()["data"]["claimed_by_id"]) == (200, there)
