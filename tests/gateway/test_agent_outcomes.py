"""What versions came to, computed from the record, and canaries taken back by it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from core.clock import utc_now
from core.database import unit_of_work
from core.ids import new_id
from models import Agent, AgentCall, AgentCircuit, AgentVersion, Alert, AuditEntry, Feedback, Message, VersionStatus
from queries import gateway as gateway_queries
from services import agent_outcomes
from services.gateway.settings import CanarySettings
from services.gateway.statistics import VersionFigures
from tests.support import factories

SETTINGS = CanarySettings()
LONG_AGO = timedelta(hours=2)


@pytest.fixture
def agent(database: str) -> Agent:
    return factories.create_agent()


def version_of(agent: Agent, number: int, **fields: Any) -> AgentVersion:
    defaults = {"status_changed_at": utc_now() - LONG_AGO, "created_by": "tests"}
    version = AgentVersion(id=new_id(), agent_id=agent.id, number=number, **(defaults | fields))
    with unit_of_work() as session:
        session.add(version)
    return version


def call(agent: Agent, version: AgentVersion | None = None, **fields: Any) -> AgentCall:
    error = fields.get("error_code")
    defaults: dict[str, Any] = {
        "attempt": 1,
        "status": "failed" if error else "succeeded",
        "duration_ms": 1000,
        "started_at": utc_now() - timedelta(minutes=5),
    }
    return AgentCall(agent_id=agent.id, version_id=version.id if version else None, **(defaults | fields))


def record(*calls: AgentCall) -> None:
    with unit_of_work() as session:
        session.add_all(calls)


def figures(since: timedelta = timedelta(hours=1)) -> dict[UUID, VersionFigures]:
    with unit_of_work() as session:
        return agent_outcomes.figures(session, since=utc_now() - since)


def test_calls_are_counted_by_version_and_by_agent_where_there_is_none(agent: Agent) -> None:
    one, two = version_of(agent, 1), version_of(agent, 2)
    record(
        *[call(agent, one, duration_ms=ms) for ms in range(100, 1100, 10)],
        *[call(agent, one, error_code="AGENT_TIMEOUT", duration_ms=9000) for _ in range(3)],
        call(agent, two, refusal="markup", refused_answer="<b>"),
        call(agent, two, status="running", duration_ms=None),
        call(agent, error_code="AGENT_BUSY"),
        call(agent, two, error_code="CANCELLED"),
        call(agent, two, error_code="AGENT_INTERRUPTED"),
        call(agent, two, started_at=utc_now() - timedelta(days=2)),
    )

    counted = figures()

    first = counted[one.id]
    assert (first.calls, first.succeeded, first.failed, first.errors) == (103, 100, 3, 3)
    assert (first.p50_ms, first.p95_ms) == (595, pytest.approx(1040.5))
    # Ranks 40 and 60 of a hundred: 0.5 ± 0.98 / √100.
    assert (first.median_ms_low, first.median_ms_high) == (500, 690)
    assert (counted[two.id].calls, counted[two.id].refused, counted[two.id].errors) == (1, 1, 1)
    assert (counted[agent.id].calls, counted[agent.id].failed, counted[agent.id].p50_ms) == (1, 1, None)


def test_tokens_and_prices_are_added_up_where_they_are_numbers(agent: Agent) -> None:
    version = version_of(agent, 1)
    usages: list[Any] = [
        {"total_tokens": 100, "total_price": "0.0021"}, {"total_tokens": 50, "total_price": "0.0009"},
        {"total_tokens": "many", "total_price": "free"}, {"total_price": "1e400"}, {"total_tokens": 1e300}, {}, None,
    ]  # fmt: skip
    record(*[call(agent, version, usage=usage) for usage in usages])

    counted = figures()[version.id]

    assert counted.total_tokens == 150 + 10**9
    assert counted.total_price == pytest.approx(0.003)


def test_fallbacks_and_ratings_come_from_the_journeys(agent: Agent) -> None:
    version = version_of(agent, 1)
    for greeted_by, rating in (("agent", 5), ("agent", 3), ("template", None), ("template", None)):
        journey = factories.create_journey(greeted_by=greeted_by)
        conversation = factories.create_conversation(journey_id=journey.id)
        record(call(agent, version, journey_id=journey.id, error_code=None if rating else "AGENT_TIMEOUT"))
        if rating:
            message = Message(
                id=new_id(), conversation_id=conversation.id, sender_type="ai", content={"text": "您好"},
                journey_id=journey.id, source="agent",
            )  # fmt: skip
            with unit_of_work() as session:
                session.add(message)
                session.flush()
                session.add(Feedback(message_id=message.id, user_id=journey.user_id, rating=rating))

    counted = figures()[version.id]

    assert counted.fallbacks == 2
    assert (counted.ratings, counted.rating_mean, counted.rating_deviation) == (2, 4.0, pytest.approx(2**0.5))


def test_several_versions_add_up_to_one_row(agent: Agent) -> None:
    one, two = version_of(agent, 1), version_of(agent, 2)
    record(call(agent, one), call(agent, two, error_code="AGENT_BUSY"), call(agent))

    with unit_of_work() as session:
        rows = gateway_queries.list_outcomes(
            session, since=datetime(2020, 1, 1).astimezone(), uncounted=[], keys=[one.id, two.id], merged_as=agent.id
        )

    assert [(row.version_id, row.calls, row.failed) for row in rows] == [(agent.id, 2, 1)]


def status_of(version: AgentVersion) -> tuple[str, int]:
    with unit_of_work() as session:
        stored = session.get_one(AgentVersion, version.id)
        return stored.status, stored.canary_percent


def test_a_canary_that_fails_half_the_time_is_taken_back_with_alert_and_audit(agent: Agent) -> None:
    stable = version_of(agent, 1)
    canary = version_of(agent, 2, status=VersionStatus.CANARY, canary_percent=10)
    record(
        *[call(agent, stable) for _ in range(180)],
        *[call(agent, canary) for _ in range(10)],
        *[call(agent, canary, error_code="AGENT_UNAVAILABLE") for _ in range(10)],
    )

    with ThreadPoolExecutor(4) as pool:
        reviews = list(pool.map(lambda _: agent_outcomes.review_canaries(SETTINGS), range(4)))

    assert [one for review in reviews for one in review] == [canary.id]
    assert status_of(canary) == ("rolled_back", 0)
    assert status_of(stable) == ("active", 0)
    with unit_of_work() as session:
        entries = list(session.scalars(select(AuditEntry)))
        alerts = list(session.scalars(select(Alert)))
    assert [(entry.actor, entry.action) for entry in entries] == [("system", "agent_version.rolled_back")]
    assert entries[0].before == {"status": "canary", "canary_percent": 10}
    assert entries[0].after is not None
    assert entries[0].after["reason"].startswith("errors: 10 of 20 calls")
    assert [(alert.key, alert.occurrences) for alert in alerts] == [(f"canary:{canary.id}", 1)]


def test_a_canary_whose_circuit_keeps_opening_is_taken_back(agent: Agent) -> None:
    canary = version_of(agent, 2, status=VersionStatus.CANARY, canary_percent=10)
    with unit_of_work() as session:
        session.add(AgentCircuit(id=canary.id, agent_id=agent.id, state="open", opened_times=3))

    assert agent_outcomes.review_canaries(SETTINGS) == [canary.id]

    assert status_of(canary) == ("rolled_back", 0)


def test_a_sound_canary_stays_and_nothing_is_written(agent: Agent) -> None:
    stable = version_of(agent, 1)
    canary = version_of(agent, 2, status=VersionStatus.CANARY, canary_percent=10)
    record(*[call(agent, stable) for _ in range(50)], *[call(agent, canary) for _ in range(50)])

    assert agent_outcomes.review_canaries(SETTINGS) == []

    assert status_of(canary) == ("canary", 10)
    with unit_of_work() as session:
        assert list(session.scalars(select(AuditEntry))) == []
        assert list(session.scalars(select(Alert))) == []


def test_what_a_canary_did_before_it_was_one_does_not_count(agent: Agent) -> None:
    canary = version_of(agent, 2, status=VersionStatus.CANARY, canary_percent=10, status_changed_at=utc_now())
    record(*[call(agent, canary, error_code="AGENT_UNAVAILABLE") for _ in range(50)])

    assert agent_outcomes.review_canaries(SETTINGS) == []


def test_a_slow_canary_is_measured_against_its_own_agent(agent: Agent) -> None:
    quick = factories.create_agent()
    stable, canary = version_of(agent, 1), version_of(agent, 2, status=VersionStatus.CANARY, canary_percent=10)
    record(
        *[call(agent, stable, duration_ms=3000) for _ in range(50)],
        *[call(agent, canary, duration_ms=3100) for _ in range(50)],
        *[call(quick, duration_ms=100) for _ in range(50)],
    )
    assert agent_outcomes.review_canaries(SETTINGS) == []

    record(*[call(agent, canary, duration_ms=9000) for _ in range(200)])

    assert agent_outcomes.review_canaries(SETTINGS) == [canary.id]


def test_open_calls_are_counted_for_the_cap_unless_they_are_stale(agent: Agent) -> None:
    version = version_of(agent, 1)
    running = {"status": "running", "duration_ms": None, "started_at": utc_now()}
    record(
        call(agent, version, **running),
        call(agent, version, **running),
        call(agent, **running),
        call(agent, **(running | {"started_at": utc_now() - timedelta(minutes=10)})),
    )

    with unit_of_work() as session:
        counted = gateway_queries.count_running(session, within_seconds=120)

    assert counted == {version.id: 2, agent.id: 1}


def test_refused_answers_are_listed_for_review_newest_first(agent: Agent) -> None:
    early = call(agent, refusal="markup", refused_answer="<b>", started_at=utc_now() - timedelta(minutes=9))
    record(early, call(agent, refusal="link", refused_answer="evil.com"), call(agent))

    with unit_of_work() as session:
        listed = gateway_queries.list_refused(session, most=10)
        older = gateway_queries.list_refused(session, most=10, before=listed[0].started_at)

    assert [one.refusal for one in listed] == ["link", "markup"]
    assert [one.id for one in older] == [early.id]
