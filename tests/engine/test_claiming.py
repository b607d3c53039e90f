"""Claiming a welcome again whose lease ran out: what the attempt before came to, by whoever wrote it first."""

import threading
from uuid import UUID

from core.database import journey_work
from core.ids import new_id
from models import StepName
from queries import agents as agent_queries
from queries import steps as step_queries
from queries.agents import CallBegun, CallEnded
from services.steps.conversation import create_conversation
from tests.engine.conftest import accept, rows
from tests.support.factories import create_agent
from tests.support.waiting import wait_until


def claim(journey_ids: list[UUID], *, lease_seconds: float) -> None:
    with journey_work() as session:
        step_queries.claim_steps(
            session,
            StepName.GENERATE_WELCOME,
            journey_ids,
            token=new_id(),
            worker="test",
            lease_seconds=lease_seconds,
            handle_seconds=600,
        )


def test_an_end_that_was_being_recorded_when_the_lease_ran_out_stands() -> None:
    agent = create_agent("http://127.0.0.1:9/v1", api_key="app-claiming")
    (journey,) = accept()
    create_conversation([journey])
    claim([journey], lease_seconds=-1)
    call = new_id()
    with journey_work() as session:
        agent_queries.begin_calls(session, [CallBegun(call, journey, 1, agent.id, None)])

    again = threading.Thread(target=claim, args=([journey],), kwargs={"lease_seconds": 30})
    with journey_work() as session:
        agent_queries.end_calls(session, [CallEnded(call, "AGENT_TIMEOUT", "too late")])
        again.start()
        wait_until(lambda: rows("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == [(1,)])
    again.join(10)

    assert rows("SELECT attempt, outcome FROM step_attempts WHERE step = 'generate_welcome' ORDER BY attempt") == [
        (1, "lost"),
        (2, "running"),
    ]
    assert rows("SELECT error_code, error_text FROM agent_calls") == [("AGENT_TIMEOUT", "too late")]


def test_a_call_nobody_heard_the_end_of_is_ended_by_the_next_claim() -> None:
    agent = create_agent("http://127.0.0.1:9/v1", api_key="app-claiming")
    lost, other = accept(2)
    create_conversation([lost, other])
    claim([lost], lease_seconds=-1)
    with journey_work() as session:
        agent_queries.begin_calls(session, [CallBegun(new_id(), lost, 1, agent.id, None)])
    claim([lost, other], lease_seconds=30)
    assert rows("SELECT journey_id, status, error_code FROM agent_calls") == [(lost, "failed", "LEASE_EXPIRED")]
    assert rows("SELECT count(*) FROM step_attempts WHERE outcome = 'lost'") == [(1,)]
