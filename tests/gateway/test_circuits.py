"""Circuits as rows: shared by every process, locked while they change."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from clients.agent_codes import AgentCode
from core.database import unit_of_work
from models import Agent, AgentCircuit
from services import circuits
from services.gateway.decision import Gate
from services.gateway.settings import BreakerSettings
from tests.support import factories

SETTINGS = BreakerSettings(consecutive_failures=3, min_calls=10, probes=2, successes_to_close=2, open_seconds=30)
TIMEOUT = str(AgentCode.TIMEOUT)


@pytest.fixture
def agent(database: str) -> Agent:
    return factories.create_agent()


def stored() -> list[AgentCircuit]:
    with unit_of_work() as session:
        return list(session.scalars(select(AgentCircuit)))


def open_time_passes(key: UUID) -> None:
    """Move the opening into the past, as if the time had passed."""
    with unit_of_work() as session:
        earlier = AgentCircuit.opened_at - timedelta(seconds=31)
        session.execute(update(AgentCircuit).where(AgentCircuit.id == key).values(opened_at=earlier))


def test_success_writes_nothing(agent: Agent) -> None:
    circuits.report([(agent.id, agent.id, None)] * 50, SETTINGS)

    assert stored() == []
    assert circuits.gates(SETTINGS) == {}


def test_failures_open_it_for_every_process(agent: Agent) -> None:
    circuits.report([(agent.id, agent.id, TIMEOUT)] * 2, SETTINGS)
    assert circuits.gates(SETTINGS) == {agent.id: Gate.CLOSED}

    circuits.report([(agent.id, agent.id, TIMEOUT)], SETTINGS)

    assert circuits.gates(SETTINGS) == {agent.id: Gate.OPEN}
    assert not circuits.claim_probe(agent.id, agent.id, SETTINGS)


def test_one_versions_failures_are_no_other_versions(agent: Agent) -> None:
    other = factories.create_agent()
    circuits.report([(agent.id, agent.id, TIMEOUT)] * 3 + [(other.id, other.id, None)] * 3, SETTINGS)

    assert circuits.gates(SETTINGS) == {agent.id: Gate.OPEN}


def test_a_bad_key_opens_it_at_once_and_a_new_key_closes_it(agent: Agent) -> None:
    circuits.report([(agent.id, agent.id, str(AgentCode.BAD_KEY))], SETTINGS)
    assert circuits.gates(SETTINGS) == {agent.id: Gate.OPEN}

    circuits.close({agent.id: agent.id})

    assert circuits.gates(SETTINGS) == {agent.id: Gate.CLOSED}


def test_what_the_caller_gave_up_is_not_the_agents_failure(agent: Agent) -> None:
    circuits.report([(agent.id, agent.id, str(AgentCode.INTERRUPTED))] * 10, SETTINGS)

    assert stored() == []


def test_probes_go_through_one_by_one_and_close_it(agent: Agent) -> None:
    circuits.report([(agent.id, agent.id, TIMEOUT)] * 3, SETTINGS)
    open_time_passes(agent.id)
    assert circuits.gates(SETTINGS) == {agent.id: Gate.PROBE}

    assert circuits.claim_probe(agent.id, agent.id, SETTINGS)
    assert circuits.claim_probe(agent.id, agent.id, SETTINGS)
    assert not circuits.claim_probe(agent.id, agent.id, SETTINGS)
    assert circuits.gates(SETTINGS) == {agent.id: Gate.OPEN}
    circuits.report([(agent.id, agent.id, None)], SETTINGS)
    circuits.report([(agent.id, agent.id, None)], SETTINGS)

    assert circuits.gates(SETTINGS) == {agent.id: Gate.CLOSED}
    assert circuits.claim_probe(agent.id, agent.id, SETTINGS)


def test_a_failed_probe_opens_it_again_for_longer(agent: Agent) -> None:
    circuits.report([(agent.id, agent.id, TIMEOUT)] * 3, SETTINGS)
    open_time_passes(agent.id)
    assert circuits.claim_probe(agent.id, agent.id, SETTINGS)

    circuits.report([(agent.id, agent.id, TIMEOUT)], SETTINGS)
    open_time_passes(agent.id)

    assert circuits.gates(SETTINGS) == {agent.id: Gate.OPEN}
    assert stored()[0].opened_times == 2


def test_many_processes_claim_no_more_probes_than_there_are(agent: Agent) -> None:
    circuits.report([(agent.id, agent.id, TIMEOUT)] * 3, SETTINGS)
    open_time_passes(agent.id)
    start = threading.Barrier(8)

    def claim(_: int) -> bool:
        start.wait(10)
        return circuits.claim_probe(agent.id, agent.id, SETTINGS)

    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim, range(8)))

    assert sum(claimed) == SETTINGS.probes


def test_failures_reported_at_once_are_all_counted(agent: Agent) -> None:
    lasting = BreakerSettings(consecutive_failures=100, min_calls=100)
    start = threading.Barrier(8)

    def fail(_: int) -> None:
        start.wait(10)
        circuits.report([(agent.id, agent.id, TIMEOUT)] * 2, lasting)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fail, range(8)))

    assert stored()[0].window_failures == 16
