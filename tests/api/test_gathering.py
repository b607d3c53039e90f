"""Registrations gather into larger messages while the queues are behind, and never wait where they are not."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_hooks.intake import Intake
from api_hooks.pace import Pace
from clients import broker
from core.ids import new_id
from core.settings import get_settings
from models import StepName
from services.intake import IntakeStatus, Registration, Submission
from services.journey_plan import Queue
from tasks.publish import publish_steps
from tests.engine.conftest import rows


def messages_waiting() -> int:
    return broker.queue_lengths(get_settings().require_broker_url(), [Queue.JOURNEYS])[Queue.JOURNEYS]


async def accept_one_after_another(count: int) -> None:
    intake = Intake()
    for number in range(count):
        registration = Registration.model_validate({"user_id": f"u{number}", "username": "客户"})
        acceptance = await intake.accept(Submission(registration))
        assert acceptance.status is IntakeStatus.ACCEPTED
    await intake.drain()


def test_behind_a_full_queue_registrations_share_messages(servers: object) -> None:
    for _ in range(50):
        publish_steps(StepName.CREATE_CONVERSATION, [new_id()])
    before = messages_waiting()
    asyncio.run(accept_one_after_another(12))
    assert 1 <= messages_waiting() - before < 12
    assert rows("SELECT count(*) FROM journeys WHERE status = 'accepted'") == [(12,)]


def new_pace() -> Pace:
    return Pace(held_up_times=20, most_seconds=0.3)


def test_turns_that_take_as_long_as_ever_delay_nobody_however_far_the_server_is() -> None:
    pace = new_pace()
    assert [pace.rest_seconds(0.025) for _ in range(3)] == pytest.approx([0, 0, 0], abs=1e-4)


def test_turns_that_are_held_up_have_registrations_gather() -> None:
    pace = new_pace()
    pace.rest_seconds(0.002)
    assert pace.rest_seconds(0.007) == pytest.approx(0.100, rel=0.01)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=30))
def test_a_turn_that_is_longer_for_what_it_holds_is_not_held_up(sizes: list[int]) -> None:
    """Whatever the sizes came in: a fixed cost and so much for each item, as on a machine with nothing else to do."""
    pace = new_pace()
    assert max(pace.rest_seconds(0.002 + 0.0002 * items, items=items) for items in sizes) == pytest.approx(0, abs=1e-9)


def test_a_turn_of_many_is_held_up_by_what_it_takes_beyond_its_items() -> None:
    pace = new_pace()
    pace.rest_seconds(0.002)
    assert pace.rest_seconds(0.012, items=50) == pytest.approx(0, abs=1e-4)
    assert pace.rest_seconds(0.022, items=50) == pytest.approx(20 * (0.022 - 0.002 - 49 * 0.00024), rel=0.01)


def test_who_comes_alone_is_sent_before_anybody_waits(servers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    sent_before_waiting: list[int] = []

    def note(*_: object, **__: object) -> float:
        sent_before_waiting.append(messages_waiting())
        return 0.0

    monkeypatch.setattr(Pace, "rest_seconds", note)
    before = messages_waiting()
    asyncio.run(accept_one_after_another(1))
    # Once after the commit, once after the message.
    assert sent_before_waiting == [before, before + 1]


def test_a_commit_is_answered_before_the_next_is_held_back(servers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "rest_seconds", lambda *_, **__: 60.0)

    async def accept_twice() -> list[tuple[int]]:
        intake = Intake()
        registrations = [Registration.model_validate({"user_id": f"u{n}", "username": "客户"}) for n in range(3)]
        assert (await intake.accept(Submission(registrations[0]))).status is IntakeStatus.ACCEPTED
        others = [asyncio.create_task(intake.accept(Submission(one))) for one in registrations[1:]]
        # A stop ends the rest, and what gathered meanwhile is one commit.
        await asyncio.sleep(0)
        assert rows("SELECT count(*) FROM journeys") == [(1,)]
        await intake.drain()
        assert [(await one).status for one in others] == [IntakeStatus.ACCEPTED] * 2
        return rows("SELECT count(DISTINCT xmin::text)::int FROM journeys")

    assert asyncio.run(accept_twice()) == [(2,)]


def test_a_stop_does_not_wait_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "rest_seconds", lambda *_, **__: 60.0)
    began_at = time.monotonic()
    asyncio.run(accept_one_after_another(1))
    assert time.monotonic() - began_at < 30


@given(*[st.tuples(st.floats(0, 10**4), st.floats(0, 100))] * 2)
def test_the_further_behind_the_longer_up_to_a_bound(one: tuple[float, float], other: tuple[float, float]) -> None:
    less, more = sorted((one[0], other[0]))
    shorter, longer = sorted((one[1], other[1]))
    paces = new_pace(), new_pace()
    for pace in paces:
        pace.rest_seconds(0.0)
    low, high = paces[0].rest_seconds(shorter, least=less), paces[1].rest_seconds(longer, least=more)
    assert 0 <= low <= high <= 0.3
