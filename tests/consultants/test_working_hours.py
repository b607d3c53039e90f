"""Working hours: Chinese holidays and make-up workdays, time zones, and time that only passes while open."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from services.automation import AutomationSettings
from services.working_hours import WorkingHours

SHANGHAI = WorkingHours()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        # Friday in Shanghai, 09:00 to 18:00, which is 01:00 to 10:00 in UTC.
        ("2026-11-20T00:59:59", False),
        ("2026-11-20T01:00:00", True),
        ("2026-11-20T09:59:59", True),
        ("2026-11-20T10:00:00", False),
        # An ordinary Saturday.
        ("2026-11-21T04:00:00", False),
        # National Day, and the Saturday that makes up for it.
        ("2026-10-01T04:00:00", False),
        ("2026-10-10T04:00:00", True),
        # Spring Festival's Monday.
        ("2026-02-16T04:00:00", False),
    ],
)
def test_public_holidays_are_off_and_make_up_saturdays_are_not(at: str, is_open: bool) -> None:
    assert SHANGHAI.is_open(utc(at)) is is_open


def test_the_next_opening_skips_the_golden_week() -> None:
    assert SHANGHAI.next_open(utc("2026-09-30T10:00:00")) == utc("2026-10-08T01:00:00")
    assert SHANGHAI.next_open(utc("2026-10-08T03:00:00")) == utc("2026-10-08T03:00:00")


def test_working_time_stands_still_while_closed() -> None:
    since = utc("2026-11-20T09:58:00")
    assert SHANGHAI.after(since, timedelta(minutes=2)) == utc("2026-11-20T10:00:00")
    assert SHANGHAI.after(since, timedelta(minutes=3)) == utc("2026-11-23T01:01:00")
    assert SHANGHAI.after(utc("2026-11-21T04:00:00"), timedelta(minutes=3)) == utc("2026-11-23T01:03:00")


def test_hours_of_ones_own() -> None:
    night = WorkingHours.model_validate(
        {
            "timezone": "America/New_York",
            "weekly": {"sat": ["20:00-24:00"], "sun": ["00:00-04:00"]},
            "holidays": None,
            "days_off": ["2026-11-28"],
        }
    )
    # Saturday evening in New York (UTC-5) is Sunday in UTC.
    assert night.is_open(utc("2026-11-22T01:00:00"))
    assert night.after(utc("2026-11-22T04:30:00"), timedelta(hours=1)) == utc("2026-11-22T05:30:00")
    assert not night.is_open(utc("2026-11-29T01:00:00"))


@pytest.mark.parametrize(
    "values",
    [
        {"timezone": "Mars/Olympus"},
        {"timezone": "../etc/passwd"},
        {"holidays": "ZZ"},
        {"weekly": {"mon": ["18:00-09:00"]}},
        {"weekly": {"mon": ["9:00-18:00"]}},
        {"weekly": {"mon": []}},
        {"weekly": {"someday": ["09:00-18:00"]}},
    ],
)
def test_hours_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WorkingHours.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"notification": {"channels": []}},
        {"notification": {"channels": ["push", "websocket"]}},
        {"notification": {"channels": ["push", "push"]}},
        {"notification": {"public_url": "javascript:alert(1)"}},
        {"escalation": {"ladder": []}},
        {"escalation": {"ladder": [{"action": "widen", "after_minutes": 6}, {"action": "remind", "after_minutes": 3}]}},
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AutomationSettings.model_validate(values)


def test_the_default_ladder_is_the_one_asked_for() -> None:
    ladder = AutomationSettings().escalation.ladder
    assert [(rung.action, rung.after_minutes) for rung in ladder[:4]] == [
        ("remind", 3),
        ("widen", 6),
        ("supervisor", 10),
        ("reassign", 15),
    ]
