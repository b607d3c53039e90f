"""Registrations gather into larger messages while the queues are behind, and never wait where they are not."""

import asyncio

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


def test_with_an_empty_queue_nothing_waits() -> None:
    assert gather_seconds(0) == 0


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_further_behind_the_longer_up_to_a_bound(fewer: int, more: int) -> None:
    fewer, more = sorted((fewer, more))
    assert 0 <= gather_seconds(fewer) <= gather_seconds(more) <= GATHER_SECONDS_MAX
