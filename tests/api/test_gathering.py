"""Registrations gather into larger messages while the queues are behind, and never wait where they are not."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_hooks.intake import GATHER_SECONDS_MAX, Intake, gather_seconds
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


def test_a_message_that_cost_nothing_to_send_with_none_before_it_delays_nobody() -> None:
    assert gather_seconds(0, 0.0) == 0


def test_who_comes_alone_is_sent_before_anybody_waits(servers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("api_hooks.intake.time.sleep", lambda seconds: waited.append(messages_waiting()))
    before = messages_waiting()
    asyncio.run(accept_one_after_another(1))
    assert waited == [before + 1]


@given(*[st.tuples(st.integers(0, 10**6), st.floats(0, 100))] * 2)
def test_the_further_behind_the_longer_up_to_a_bound(one: tuple[int, float], other: tuple[int, float]) -> None:
    fewer, more = sorted((one[0], other[0]))
    shorter, longer = sorted((one[1], other[1]))
    assert 0 <= gather_seconds(fewer, shorter) <= gather_seconds(more, longer) <= GATHER_SECONDS_MAX
