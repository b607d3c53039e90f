"""What a socket is told of an event, in the language of whoever listens."""

import orjson

from queries.events import Told
from services import automation
from services.gateway.templates import locale_for
from services.push_texts import DEFAULT_LOCALE, RUNG_TITLES, shown_frame

# The events that hold words for people; all others are facts.
_WITH_WORDS = frozenset({"new_customer", "escalation"})


def shown(event: Told, locale: str | None) -> str:
    """Return the event's data as JSON text, its words in the language of the locale where there are any."""
    if locale is None or event.type not in _WITH_WORDS:
        return event.data
    settings = automation.current().notification
    known = dict.fromkeys((*RUNG_TITLES, *settings.push_texts), "")
    # The stored words are Chinese, unless the settings have others for it.
    if locale_for(locale, known) == DEFAULT_LOCALE and DEFAULT_LOCALE not in settings.push_texts:
        return event.data
    return orjson.dumps(shown_frame(event.type, orjson.loads(event.data), locale, settings)).decode()
