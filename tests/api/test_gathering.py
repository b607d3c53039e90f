"""Registrations gather into larger messages while the queues are behind, and never wait where they are not."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_hooks.intake import Intake
from api_hooks.pace import GATHER_SECONDS_MAX, Pace
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


def test_sending_that_takes_as_long_as_ever_delays_nobody_however_far_the_broker_is() -> None:
    pace = Pace()
    assert [pace.gather_seconds(0, 0.025) for _ in range(3)] == pytest.approx([0, 0, 0], abs=1e-4)


def test_sending_that_is_held_up_has_registrations_gather() -> None:
    pace = Pace()
    pace.gather_seconds(0, 0.002)
    assert pace.gather_seconds(0, 0.007) == pytest.approx(0.100, rel=0.01)


def test_who_comes_alone_is_sent_before_anybody_waits(servers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    sent_before_waiting: list[int] = []

    def note(*_: object) -> float:
        sent_before_waiting.append(messages_waiting())
        return 0.0

    monkeypatch.setattr(Pace, "gather_seconds", note)
    before = messages_waiting()
    asyncio.run(accept_one_after_another(1))
    assert sent_before_waiting == [before + 1]


def test_a_stop_does_not_wait_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "gather_seconds", lambda *_: 60.0)
    began_at = time.monotonic()
    asyncio.run(accept_one_after_another(1))
    assert time.monotonic() - began_at < 30


@given(*[st.tuples(st.integers(0, 10**6), st.floats(0, 100))] * 2)
def test_the_further_behind_the_longer_up_to_a_bound(one: tuple[int, float], other: tuple[int, float]) -> None:
    fewer, more = sorted((one[0], other[0]))
    shorter, longer = sorted((one[1], other[1]))
    paces = Pace(), Pace()
    for pace in paces:
        pace.gather_seconds(0, 0.0)
    low, high = paces[0].gather_seconds(fewer, shorter), paces[1].gather_seconds(more, longer)
    assert 0 <= low <= high <= GATHER_SECONDS_MAX
