"""Working hours as data: weekly spans in a time zone, public holidays and make-up workdays, single days off. Pure."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

import holidays
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

# Nobody is closed for longer; hours that never open within it are refused as settings.
LOOK_AHEAD_DAYS = 400
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(([01]\d|2[0-3]):([0-5]\d)|24:00)")
_MIDNIGHT = "24:00"


class Weekday(StrEnum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _known_zone(name: str) -> str:
    # Only names: ZoneInfo would also take a path's parts, and says no to what it does not find in three ways.
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name):
        raise ValueError("no time zone's name")
    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError("no such time zone") from None
    return name


def _known_country(code: str | None) -> str | None:
    if code is not None and code not in holidays.list_supported_countries():
        raise ValueError("no country whose holidays are known")
    return code


def _span(text: str) -> str:
    if not _SPAN.fullmatch(text) or text[:5] >= text[6:]:
        raise ValueError("a span is HH:MM-HH:MM within one day, its end 24:00 at the latest")
    return text


Span = Annotated[str, AfterValidator(_span)]
_OFFICE: tuple[str, ...] = ("09:00-18:00",)


class WorkingHours(BaseModel):
    """When somebody works. A public holiday is off; a weekend day made a workday has Monday's hours where it has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timezone: Annotated[str, AfterValidator(_known_zone)] = "Asia/Shanghai"
    weekly: dict[Weekday, tuple[Span, ...]] = Field(
        default_factory=lambda: dict.fromkeys(
            (Weekday.MON, Weekday.TUE, Weekday.WED, Weekday.THU, Weekday.FRI), _OFFICE
        )
    )
    # ISO 3166 code of the country whose holidays are off; null works through them.
    holidays: Annotated[str | None, AfterValidator(_known_country)] = "CN"
    days_off: tuple[date, ...] = ()

    @model_validator(mode="after")
    def _opens_sometimes(self) -> "WorkingHours":
        if not any(self.weekly.values()):
            raise ValueError("weekly: at least one span is needed")
        return self

    def is_open(self, at: datetime) -> bool:
        """Tell whether this aware time lies in a span; a span's end does not."""
        return any(begin <= at < end for begin, end in self._spans(at.astimezone(ZoneInfo(self.timezone)).date()))

    def next_open(self, at: datetime) -> datetime:
        """Return this time (UTC) where it lies in a span, else the next span's begin."""
        return next((max(begin, at.astimezone(UTC)) for begin, _ in self._ahead(at)), at.astimezone(UTC))

    def after(self, since: datetime, working: timedelta) -> datetime:
        """Return the time (UTC) by which so much working time has passed since then."""
        left = working
        for begin, end in self._ahead(since):
            begin = max(begin, since)
            if end - begin >= left:
                return begin.astimezone(UTC) + left
            left -= end - begin
        return since.astimezone(UTC) + working

    def _ahead(self, since: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the spans that end after this time, in order."""
        today = since.astimezone(ZoneInfo(self.timezone)).date()
        for days in range(LOOK_AHEAD_DAYS):
            yield from ((begin, end) for begin, end in self._spans(today + timedelta(days=days)) if end > since)

    def _spans(self, day: date) -> list[tuple[datetime, datetime]]:
        zone = ZoneInfo(self.timezone)
        spans = [(_at(day, text[:5], zone), _at(day, text[6:], zone)) for text in self._texts(day)]
        return sorted(spans)

    def _texts(self, day: date) -> tuple[str, ...]:
        if day in self.days_off:
            return ()
        usual = self.weekly.get(list(Weekday)[day.weekday()], ())
        if self.holidays is None:
            return usual
        off, made_workdays = _calendar(self.holidays, day.year)
        if day in off:
            return ()
        return usual or (self.weekly.get(Weekday.MON, ()) if day in made_workdays else ())


def _at(day: date, text: str, zone: ZoneInfo) -> datetime:
    if text == _MIDNIGHT:
        return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    return datetime.combine(day, time.fromisoformat(text), zone).astimezone(UTC)


@lru_cache(maxsize=64)
def _calendar(country: str, year: int) -> tuple[frozenset[date], frozenset[date]]:
    """Return the year's public holidays and the weekend days made workdays; the latter as far as they are published."""
    # Copied out: the library fills its calendars while they are read, which threads must not share.
    calendar = holidays.country_holidays(country, years=year, expand=False)
    return frozenset(calendar), frozenset(calendar.weekend_workdays)
