"""Claiming, talking and rating through the API."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from core.database import unit_of_work
from core.ids import new_id
from models import AuditEntry, Claim, Conversation, Event, Feedback, Message, User
from tests.api.conftest import Person, SignIn
from tests.api.processes import ApiProcess
from tests.support.factories import create_conversation, create_journey

V1 = "/api/v1"


@pytest.fixture
def conversation(customer: Person) -> Conversation:
    with unit_of_work() as session:
        user = session.get_one(User, customer.user_id)
    return create_conversation(customer=user)


def welcome(conversation: Conversation) -> UUID:
    """Store a welcome as the engine does."""
    with unit_of_work() as session:
        user = session.get_one(User, conversation.customer_id)
    journey = create_journey(user=user)
    message = Message(
        id=new_id(),
        conversation_id=conversation.id,
        sender_type="ai",
        content={"type": "text", "text": "欢迎"},
        journey_id=journey.id,
        source="template",
    )
    with unit_of_work() as session:
        session.add(message)
    return message.id


def test_of_fifty_consultants_at_once_one_wins_and_the_others_are_told_who(
    apis: list[ApiProcess], sign_in: SignIn
) -> None:
    people = [sign_in("consultant") for _ in range(50)]
    conversations = [create_conversation().id for _ in range(3)]
    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(50) as pool:
        for conversation_id in conversations:
            start = threading.Barrier(50)

            def try_to_claim(
                place: int, conversation_id: UUID = conversation_id, start: threading.Barrier = start
            ) -> httpx.Response:
                url = f"{apis[place % 2].url}{V1}/conversations/{conversation_id}/claim"
                start.wait()
                return client.post(url, headers=people[place].headers)

            answers = list(pool.map(try_to_claim, range(50)))
            winners = [people[place].username for place, answer in enumerate(answers) if answer.status_code == 200]
            assert len(winners) == 1
            losers = [answer for answer in answers if answer.status_code == 409]
            assert len(losers) == 49
            assert {answer.json()["holder"] for answer in losers} == set(winners)
            assert {answer.json()["code"] for answer in losers} == {"ALREADY_CLAIMED"}
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Claim)) == 3
        told = session.scalars(select(Event.type).where(Event.audience == "consultants")).all()
        assert told == ["customer_claimed"] * 3
        claimed = session.scalars(select(AuditEntry.action).where(AuditEntry.action.startswith("conv"))).all()
        assert claimed == ["conversation.claim"] * 3


def test_a_claim_switches_the_ai_off_and_a_release_switches_it_on_again(
    client: TestClient, conversation: Conversation, consultant: Person, sign_in: SignIn
) -> None:
    path = f"{V1}/conversations/{conversation.id}"
    claimed = client.post(f"{path}/claim", headers=consultant.headers).json()["data"]
    assert (claimed["claimed_by"], claimed["ai_controlled"]) == (consultant.username, False)
    assert client.post(f"{path}/claim", headers=consultant.headers).status_code == 200
    other = sign_in("consultant")
    assert client.post(f"{path}/release", headers=other.headers).status_code == 403
    released = client.post(f"{path}/release", json={"reason": "shift ends"}, headers=consultant.headers).json()["data"]
    assert (released["claimed_by"], released["ai_controlled"]) == (None, True)
    assert client.post(f"{path}/claim", headers=other.headers).json()["data"]["claimed_by"] == other.username
    with unit_of_work() as session:
        claims = session.scalars(select(Claim).order_by(Claim.claimed_at)).all()
        assert [claim.released_reason for claim in claims] == ["shift ends", None]


def test_a_transfer_leaves_no_moment_in_between(
    client: TestClient, conversation: Conversation, consultant: Person, sign_in: SignIn
) -> None:
    path = f"{V1}/conversations/{conversation.id}"
    other = sign_in("consultant")
    listed = client.get(f"{V1}/consultants", headers=consultant.headers).json()["data"]
    ids = {one["display_name"]: one["consultant_id"] for one in listed}
    client.post(f"{path}/claim", headers=consultant.headers)
    body = {"consultant_id": ids[other.username]}
    assert client.post(f"{path}/transfer", json=body, headers=other.headers).status_code == 403
    answer = client.post(f"{path}/transfer", json=body, headers=consultant.headers)
    assert answer.json()["data"]["claimed_by"] == other.username
    unknown = client.post(f"{path}/transfer", json={"consultant_id": str(new_id())}, headers=other.headers)
    assert unknown.status_code == 422


def test_only_its_customer_and_staff_see_a_conversation(
    client: TestClient, conversation: Conversation, customer: Person, consultant: Person, operator: Person
) -> None:
    others = create_conversation()
    for path in ("", "/messages"):
        for person in (customer, consultant, operator):
            url = f"{V1}/conversations/{conversation.id}{path}"
            assert client.get(url, headers=person.headers).status_code == 200
        hidden = client.get(f"{V1}/conversations/{others.id}{path}", headers=customer.headers)
        missing = client.get(f"{V1}/conversations/{new_id()}{path}", headers=customer.headers)
        assert (hidden.status_code, missing.status_code) == (404, 404)
        assert hidden.json()["code"] == missing.json()["code"] == "CONVERSATION_NOT_FOUND"
    assert (
        client.post(
            f"{V1}/conversations/{others.id}/messages", json={"text": "hello"}, headers=customer.headers
        ).status_code
        == 404
    )
    own = client.get(f"{V1}/conversations", headers=customer.headers).json()["data"]["items"]
    assert [one["id"] for one in own] == [str(conversation.id)]
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0


def test_what_is_said_is_stored_in_order_and_told_to_those_concerned(
    client: TestClient, conversation: Conversation, customer: Person, consultant: Person, sign_in: SignIn
) -> None:
    path = f"{V1}/conversations/{conversation.id}/messages"
    assert client.post(path, json={"text": "在吗？"}, headers=customer.headers).status_code == 201
    said = client.post(path, json={"content": {"type": "text", "text": "您好"}}, headers=consultant.headers)
    assert said.json()["data"]["sender_type"] == "consultant"
    assert client.post(path, json={"text": "谢谢"}, headers=customer.headers).status_code == 201
    taken = client.get(f"{V1}/conversations/{conversation.id}", headers=consultant.headers).json()["data"]
    assert (taken["claimed_by"], taken["ai_controlled"]) == (consultant.username, False)
    late = client.post(path, json={"text": "me too"}, headers=sign_in("consultant").headers)
    assert (late.status_code, late.json()["holder"]) == (409, consultant.username)

    first = client.get(path, params={"limit": 2}, headers=customer.headers).json()["data"]
    rest = client.get(path, params={"cursor": first["next_cursor"]}, headers=customer.headers).json()["data"]
    assert [one["content"]["text"] for one in first["items"] + rest["items"]] == ["在吗？", "您好", "谢谢"]
    assert rest["next_cursor"] is None
    newest = client.get(path, params={"limit": 1, "order": "newest"}, headers=customer.headers).json()["data"]
    assert newest["items"][0]["content"]["text"] == "谢谢"
    with unit_of_work() as session:
        told = session.execute(select(Event.audience, Event.type).order_by(Event.id)).all()
        holder = session.scalars(select(Conversation.claimed_by_id).where(Conversation.id == conversation.id)).one()
    mine, theirs = f"customer:{customer.user_id}", f"consultant:{holder}"
    assert sorted(told[:2]) == sorted([(mine, "message"), ("consultants", "message")])
    assert sorted(told[2:4]) == sorted([("consultants", "customer_claimed"), (mine, "customer_claimed")])
    assert sorted(told[4:6]) == sorted([(mine, "message"), (theirs, "message")])
    assert sorted(told[6:]) == sorted([(mine, "message"), (theirs, "message")])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "x" * 4001},
        {"text": "a\x00b"},
        {"content": {"type": "image"}},
        {"text": 1},
        {"text": "x", "ai": 1},
    ],
)
def test_a_message_that_is_none_is_not_stored(
    client: TestClient, conversation: Conversation, customer: Person, body: dict[str, object]
) -> None:
    answer = client.post(f"{V1}/conversations/{conversation.id}/messages", json=body, headers=customer.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_INPUT")
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0
        assert session.scalar(select(func.count()).select_from(Event)) == 0


def test_operators_read_along_and_say_nothing(client: TestClient, conversation: Conversation, operator: Person) -> None:
    answer = client.post(
        f"{V1}/conversations/{conversation.id}/messages", json={"text": "hi"}, headers=operator.headers
    )
    assert answer.status_code == 403
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0


def test_a_customer_rates_a_message_and_may_think_again(
    client: TestClient, conversation: Conversation, customer: Person, consultant: Person
) -> None:
    path = f"{V1}/messages/{welcome(conversation)}/feedback"
    assert client.post(path, json={"rating": 2}, headers=customer.headers).status_code == 200
    again = client.post(path, json={"rating": 5, "comment": "很好"}, headers=customer.headers)
    assert again.json()["data"]["rating"] == 5
    for wrong in ({"rating": 0}, {"rating": 6}, {"rating": 4.5}, {"rating": "5"}, {}):
        assert client.post(path, json=wrong, headers=customer.headers).status_code == 422
    assert client.post(path, json={"rating": 1}, headers=consultant.headers).status_code == 403
    with unit_of_work() as session:
        stored = session.scalars(select(Feedback)).one()
        assert (stored.rating, stored.comment) == (5, "很好")


def test_a_customer_rates_neither_others_messages_nor_their_own(
    client: TestClient, conversation: Conversation, customer: Person
) -> None:
    foreign = client.post(
        f"{V1}/messages/{welcome(create_conversation())}/feedback", json={"rating": 1}, headers=customer.headers
    )
    assert (foreign.status_code, foreign.json()["code"]) == (404, "MESSAGE_NOT_FOUND")
    own = client.post(
        f"{V1}/conversations/{conversation.id}/messages", json={"text": "我"}, headers=customer.headers
    ).json()["data"]["id"]
    answer = client.post(f"{V1}/messages/{own}/feedback", json={"rating": 5}, headers=customer.headers)
    assert answer.status_code == 422
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Feedback)) == 0


def test_a_read_mark_never_goes_back_nor_into_the_future(
    client: TestClient, conversation: Conversation, customer: Person
) -> None:
    path = f"{V1}/conversations/{conversation.id}/read"
    first = client.post(path, headers=customer.headers).json()["data"][0]["read_until"]
    earlier = client.post(path, json={"until": "2020-01-01T00:00:00Z"}, headers=customer.headers)
    assert earlier.json()["data"][0]["read_until"] == first
    future = client.post(path, json={"until": "2100-01-01T00:00:00Z"}, headers=customer.headers)
    assert first < future.json()["data"][0]["read_until"] < "2100"


def test_the_inbox_lists_waiting_mine_and_all_page_by_page(client: TestClient, consultant: Person) -> None:
    made = [str(create_conversation().id) for _ in range(5)]
    client.post(f"{V1}/conversations/{made[0]}/claim", headers=consultant.headers)

    def listed(**params: object) -> list[str]:
        ids: list[str] = []
        while True:
            page = client.get(f"{V1}/conversations", params=params, headers=consultant.headers).json()["data"]
            ids += [one["id"] for one in page["items"]]
            if page["next_cursor"] is None:
                return ids
            params["cursor"] = page["next_cursor"]

    assert listed(limit=2) == made[::-1]
    assert listed(view="waiting", limit=2) == made[:0:-1]
    assert listed(view="mine") == [made[0]]
    wrong = client.get(f"{V1}/conversations", params={"cursor": "nonsense!"}, headers=consultant.headers)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "INVALID_CURSOR")
