"""Languages of the pages: gettext catalogues read once a process, and how times and figures are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path

from babel import numbers
from babel.messages.pofile import read_po

LOCALE_FOLDER = Path(__file__).parent / "locale"
DEFAULT_CODE = "zh"
# The pages' times: the company's clock, which has no summer time. A fixed offset needs no time zone data on the machine.
ZONE = timezone(timedelta(hours=8))
ZONE_NAME = "UTC+8"
_SECOND_MS, _MINUTE_MS = 1000.0, 60_000.0


def N_(text: str) -> str:
    """Mark a text for the catalogues where it is written, to be translated where it is shown."""
    return text


@dataclass(frozen=True)
class Language:
    """One language with its texts; what a catalogue does not have is shown in English, the language of the sources."""

    code: str
    tag: str
    name: str
    texts: Mapping[str, str]

    def gettext(self, text: str) -> str:
        return self.texts.get(text) or text

    def ngettext(self, singular: str, plural: str, count: int) -> str:
        return self.gettext(singular if count == 1 else plural)

    def number(self, value: float | None) -> str:
        if value is None:
            return "–"
        return str(numbers.format_decimal(value, locale=self.code))

    def share(self, value: float | None) -> str:
        """Write a share of 1 in percent; 100 % is only said of a whole."""
        if value is None:
            return "–"
        percent = value * 100
        shown = min(percent, 99.99) if value < 1 else percent
        return f"{shown:.2f}".rstrip("0").rstrip(".") + " %"

    def duration(self, milliseconds: float | None) -> str:
        if milliseconds is None:
            return "–"
        if abs(milliseconds) < _SECOND_MS:
            return f"{milliseconds:.0f} ms"
        if abs(milliseconds) < _MINUTE_MS:
            return f"{milliseconds / _SECOND_MS:.2f} s"
        minutes, seconds = divmod(round(milliseconds / _SECOND_MS), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def local(at: datetime | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Write a time by the pages' clock."""
    return at.astimezone(ZONE).strftime(form) if at is not None else "–"


@lru_cache(maxsize=1)
def languages() -> dict[str, Language]:
    """Return the languages by their code."""
    return {
        "zh": Language("zh", "zh-CN", "中文", _texts("zh")),
        "en": Language("en", "en", "English", {}),
    }


def chosen(cookie: str | None, accepted: str | None) -> Language:
    """Return the language somebody chose, else the first of ours their browser asks for, else Chinese."""
    known = languages()
    if cookie in known:
        return known[cookie]
    for part in (accepted or "").split(","):
        code = part.split(";")[0].strip().lower().split("-")[0]
        if code in known:
            return known[code]
    return known[DEFAULT_CODE]


def _texts(code: str) -> dict[str, str]:
    with (LOCALE_FOLDER / code / "messages.po").open("rb") as file:
        catalogue = read_po(file, locale=code)
    return {str(one.id): str(one.string) for one in catalogue if one.id and one.string and not one.fuzzy}
