"""Consultants are told things in their language, by sockets and by pushes; who says none is told in Chinese."""

import json

import pytest

from core.database import unit_of_work
from models import Consultant
from queries import events
from queries.events import Told
from services import automation, consultants, delivery, escalations, frames
from tests.consultants.conftest import connect, customer_waits, rows, tell
from tests.consultants.receiver import Receiver
from tests.consultants.test_ladder import WORKING, due_now
from tests.support.factories import create_consultant, create_push_channel, create_user


def speaks(locale: str | None, **fields: object) -> Consultant:
    return create_consultant(user=create_user(external_id=None, locale=locale, username=f"speaks {locale}"), **fields)


def told(kind: str) -> Told:
    with unit_of_work() as session:
        events.number_events(session, most=100)
        return [one for one in events.list_after(session, 0, most=100) if one.type == kind][-1]


def words(event: Told, locale: str | None) -> tuple[str, str]:
    data = json.loads(frames.shown(event, locale))
    return data["title"], data.get("message") or data["body"]


def test_a_new_customer_is_told_of_in_the_language_of_the_socket() -> None:
    connect(create_consultant())
    tell(customer_waits(username="小美"))
    event = told("new_customer")
    chinese = ("新客户注册", "有新客户注册，请及时响应")
    english = ("A new customer is waiting", "A customer has registered; please respond within 5 minutes")
    for locale, expected in ((None, chinese), ("zh-CN", chinese), ("zh", chinese), ("fr", chinese), ("en-GB", english)):
        assert words(event, locale) == expected
    # All else is the same for everybody.
    assert {**json.loads(frames.shown(event, "en")), "title": "", "message": ""} == {
        **json.loads(event.data),
        "title": "",
        "message": "",
    }


def test_an_operators_own_words_are_shown_as_they_are() -> None:
    connect(create_consultant())
    tell(customer_waits())
    automation.change({"notification": {"title": "贵宾注册"}}, actor="test")
    assert words(told("new_customer"), "en")[0] == "新客户注册"


def test_settings_have_words_for_any_language() -> None:
    texts = {"fr": {"title": "Nouveau client : {username}", "body": "Réponse en {minutes} min"}}
    automation.change({"notification": {"push_texts": texts}}, actor="test")
    connect(create_consultant())
    tell(customer_waits(username="小美"))
    assert words(told("new_customer"), "fr-FR") == ("Nouveau client : 小美", "Réponse en 5 min")


@pytest.mark.parametrize(
    ("locale", "titles"),
    [
        ("en", ["A customer is still waiting", "A new customer is waiting", "A customer was given to you"]),
        (None, ["客户仍在等待", "新客户等待服务", "客户已分配给您"]),
    ],
)
def test_rungs_are_told_in_the_language_of_the_consultant(
    receiver: Receiver, locale: str | None, titles: list[str]
) -> None:
    online, later = speaks(locale), speaks(locale)
    connect(online)
    for one in (online, later):
        create_push_channel(one, f"{receiver.url}/{one.id}")
    tell(customer_waits())
    for _ in range(4):
        delivery.deliver(escalations.escalate(due_now(), clock=lambda: WORKING))
    said = [json.loads(one.body) for one in receiver.received]
    assert [one["title"] for one in said] == titles
    assert words(told("escalation"), locale)[0] == titles[-1]
    if locale == "en":
        assert said[0]["body"] == "Please respond within 5 minutes"


def test_a_consultant_says_which_language_it_is() -> None:
    one = speaks(None)
    assert consultants.locale_of(one.user_id) is None
    for _ in range(2):
        consultants.set_locale(one.user_id, "en")
    assert consultants.locale_of(one.user_id) == "en"
    assert rows("SELECT locale FROM users WHERE id = :i", i=one.user_id) == [("en",)]
