"""Who is told: everybody online, or the best few; with nobody online everybody on shift, else everybody."""

from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from models import Consultant
from services import automation, consultants
from services.consultants import Profile
from services.working_hours import Weekday, WorkingHours
from tests.consultants.conftest import connect, customer_waits, execute, rows, tell
from tests.support.factories import create_consultant, create_push_channel

# One that is open at all times, and one that never is in a test's lifetime.
ALWAYS = WorkingHours(weekly=dict.fromkeys(Weekday, ("00:00-24:00",)), holidays=None)
NEVER = {"timezone": "UTC", "weekly": {"mon": ["00:00-00:01"]}}
URL = "http://127.0.0.1:9/push"


def told_ids(**customer: object) -> set[UUID]:
    return {one.consultant_id for one in tell(customer_waits(**customer)) if one.consultant_id is not None}


def online(**fields: Any) -> Consultant:
    consultant = create_consultant(**fields)
    connect(consultant)
    return consultant


def best_match(told_at_most: int) -> None:
    automation.change({"notification": {"assignment": "best_match", "told_at_most": told_at_most}}, actor="test")


def test_by_default_everybody_online_is_told_on_shift_or_not() -> None:
    people = [online(), online(working_hours=NEVER)]
    away = online()
    execute("UPDATE consultants SET away_since = now() WHERE id = :i", i=away.id)
    assert told_ids() == {one.id for one in people}


def test_with_nobody_online_those_on_shift_are_pushed_and_nobody_else() -> None:
    working = create_consultant(working_hours=ALWAYS.model_dump(mode="json"))
    sleeping = create_consultant(working_hours=NEVER)
    for one in (working, sleeping):
        create_push_channel(one, URL)
    create_consultant(working_hours=ALWAYS.model_dump(mode="json"))
    assert told_ids() == {working.id}
    assert rows("SELECT channel FROM notifications") == [("push",)]


def test_with_nobody_on_shift_whom_a_push_reaches_all_are_pushed() -> None:
    create_consultant(working_hours=ALWAYS.model_dump(mode="json"))
    people = [create_consultant(working_hours=NEVER) for _ in range(2)]
    for one in people:
        create_push_channel(one, URL)
    assert told_ids() == {one.id for one in people}


def test_a_change_of_hours_holds_at_once() -> None:
    first, second = create_consultant(working_hours=NEVER), create_consultant(working_hours=NEVER)
    for one in (first, second):
        create_push_channel(one, URL)
    consultants.change_profile(second.id, Profile([], [], ALWAYS, is_supervisor=False), actor="admin")
    assert told_ids() == {second.id}
    assert rows("SELECT action FROM audit_log") == [("consultant.profile",)]


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(["websocket"], {"websocket"}), (["push"], {"push"}), (["websocket", "push"], {"websocket"})],
)
def test_channels_are_those_of_the_settings(channels: list[str], expected: set[str]) -> None:
    automation.change({"notification": {"channels": channels}}, actor="test")
    create_push_channel(online(), URL)
    assert {one.channel for one in tell(customer_waits())} == expected


def test_the_best_match_speaks_the_language_then_knows_the_matter_then_has_least_to_do() -> None:
    best_match(1)
    fluent = online(languages=["en", "zh"], skills=["hair"])
    expert = online(languages=["en"], skills=["skin", "laser"])
    online(languages=["zh"], skills=["skin", "laser"])
    assert told_ids(locale="en-US", interests=["laser"]) == {expert.id}
    assert told_ids(locale="en_GB", interests=["hair"]) == {fluent.id}
    # Only they hear of it by their sockets, too.
    assert rows("SELECT recipients FROM events WHERE type = 'new_customer' ORDER BY id") == [
        ([expert.id],),
        ([fluent.id],),
    ]


def test_who_lists_no_language_speaks_chinese() -> None:
    best_match(1)
    unlisted, english = online(), online(languages=["en"])
    assert told_ids(locale="zh-TW", interests=[]) == {unlisted.id}
    assert told_ids(locale="en", interests=[]) == {english.id}


def test_a_burst_is_spread_fairly_and_busy_ones_get_less() -> None:
    best_match(1)
    free, busy = [online() for _ in range(4)], online()
    for _ in range(9):
        claimed = customer_waits()
        execute(
            "UPDATE conversations SET claimed_by_id = :c, claimed_at = now() WHERE id = :i", c=busy.id, i=claimed.id
        )
    shares = Counter(one.consultant_id for one in tell(*[customer_waits() for _ in range(200)]))
    # Of 200, each of the four can expect 48.8 and the busy one 4.9; four standard deviations either side.
    assert all(25 <= shares[one.id] <= 73 for one in free), shares
    assert shares[busy.id] <= 14
    assert sum(shares.values()) == 200


def test_with_nobody_online_the_best_match_is_not_choosy() -> None:
    best_match(1)
    people = [create_consultant(working_hours=ALWAYS.model_dump(mode="json")) for _ in range(3)]
    for one in people:
        create_push_channel(one, URL)
    assert told_ids() == {one.id for one in people}
