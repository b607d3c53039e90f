"""What pushes and frames say to a consultant: the words of their language, the customer's basics, and a link."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models import RungAction
from queries.notifications import Delivery
from services.automation import NotificationSettings
from services.gateway.templates import MAX_VALUE_CHARACTERS, locale_for
from services.gateway.text import clean_line

DEFAULT_LOCALE = "zh-CN"
# What the rungs of the ladder say, by language; stored is the first, as every event's and push's words are.
RUNG_TITLES: dict[str, dict[str, str]] = {
    DEFAULT_LOCALE: {
        RungAction.REMIND: "客户仍在等待",
        RungAction.WIDEN: "客户等待，请全体在班顾问关注",
        RungAction.SUPERVISOR: "客户长时间无人接待，请主管处理",
        RungAction.REASSIGN: "客户已分配给您",
    },
    "en": {
        RungAction.REMIND: "A customer is still waiting",
        RungAction.WIDEN: "A customer is waiting: everybody on shift, please look",
        RungAction.SUPERVISOR: "A customer has waited long and nobody came: supervisor, please act",
        RungAction.REASSIGN: "A customer was given to you",
    },
}
RUNG_BODIES = {"en": "Please respond within {minutes} minutes"}

_PLACE = re.compile(r"\{(username|interests|source|minutes|link)\}")


def shown_payload(delivery: Delivery, settings: NotificationSettings) -> dict[str, Any]:
    """Return what is sent: the stored payload with the words of the consultant's language and what a device may show."""
    link = f"{settings.public_url.rstrip('/')}/inbox/conversations/{delivery.payload.get('conversation_id')}"
    payload = delivery.payload | {
        "notification_id": str(delivery.id),
        "link": link,
        "expected_response_minutes": settings.expected_response_minutes,
        "customer": {
            "username": delivery.username,
            "locale": delivery.locale,
            "interests": delivery.interests,
            "source": delivery.source,
        },
    }
    rung = _rung_words(payload, delivery.consultant_locale, settings)
    if rung is not None:
        return payload | {"title": rung.title, "body": rung.body}
    # Words that an operator corrected stay.
    if payload.get("title") != settings.push_title:
        return payload
    words = _words(payload["customer"], link, delivery.consultant_locale, settings)
    return payload | {"title": words.title, "body": words.body} if words is not None else payload


def shown_frame(kind: str, data: dict[str, Any], locale: str | None, settings: NotificationSettings) -> dict[str, Any]:
    """Return a frame's data with the words of the language; as it is where there are none in it, or none to say."""
    if kind == "escalation":
        rung = _rung_words(data | {"escalation": data.get("action")}, locale, settings)
        return data if rung is None else data | {"title": rung.title, "body": rung.body}
    if kind != "new_customer" or data.get("title") != settings.title:
        return data
    words = _words(data, str(data.get("link", "")), locale, settings)
    return data if words is None else data | {"title": words.title, "message": words.body}


@dataclass(frozen=True, slots=True)
class _Words:
    title: str
    body: str


def _rung_words(payload: Mapping[str, Any], locale: str | None, settings: NotificationSettings) -> _Words | None:
    """Return a rung's words in the language; None where it says what every push of a new customer says, or in Chinese."""
    action = str(payload.get("escalation"))
    language = _served(locale, RUNG_TITLES)
    if language == DEFAULT_LOCALE or payload.get("title") != RUNG_TITLES[DEFAULT_LOCALE].get(action):
        return None
    minutes = {"minutes": str(settings.expected_response_minutes)}
    return _Words(RUNG_TITLES[language][action], _filled(RUNG_BODIES[language], minutes))


def _words(customer: Mapping[str, Any], link: str, locale: str | None, settings: NotificationSettings) -> _Words | None:
    texts = settings.push_texts.get(_served(locale, settings.push_texts))
    if texts is None:
        return None
    values = {
        "username": str(customer.get("username") or ""),
        "interests": ", ".join(str(one) for one in customer.get("interests") or ()),
        "source": str(customer.get("source") or ""),
        "minutes": str(settings.expected_response_minutes),
    }
    cleaned = {name: clean_line(value, MAX_VALUE_CHARACTERS) for name, value in values.items()} | {"link": link}
    return _Words(_filled(texts.title, cleaned), _filled(texts.body, cleaned))


def _served(locale: str | None, available: Mapping[str, object]) -> str:
    return locale_for(locale, dict.fromkeys(available, ""))


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: values.get(place[1], place[0]), text)
