"""What a push says: the words of the consultant's language, the customer's basics, and a link to the conversation."""

import re
from collections.abc import Mapping
from typing import Any

from queries.notifications import Delivery
from services.automation import NotificationSettings
from services.gateway.templates import MAX_VALUE_CHARACTERS, locale_for
from services.gateway.text import clean_line

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
    texts = settings.push_texts.get(locale_for(delivery.consultant_locale, dict.fromkeys(settings.push_texts, "")))
    # The words of a rung, or those an operator corrected, are about more than a new customer: they stay.
    if texts is None or delivery.payload.get("title") != settings.push_title:
        return payload
    values = {
        "username": delivery.username,
        "interests": ", ".join(delivery.interests),
        "source": delivery.source or "",
        "minutes": str(settings.expected_response_minutes),
    }
    cleaned = {name: clean_line(value, MAX_VALUE_CHARACTERS) for name, value in values.items()} | {"link": link}
    return payload | {"title": _filled(texts.title, cleaned), "body": _filled(texts.body, cleaned)}


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: values[place[1]], text)
