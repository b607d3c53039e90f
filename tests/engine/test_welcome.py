"""The welcome: personal when the agent answers, there in time when it does not."""

from collections.abc import Collection
from uuid import UUID

import pytest

from models import StepName
from services import automation, journey_plan, shutdown
from services.greeting import greet_overdue
from services.steps import writing
from services.steps.conversation import create_conversation
from services.steps.welcome import generate_welcome
from tests.engine.conftest import SimulatedAgent, accept, execute, journey_status, messages, rows, step
from tests.support.factories import create_agent

WELCOME, NOTIFY = StepName.GENERATE_WELCOME, StepName.NOTIFY_CONSULTANTS
DEFAULT_TEXT = "欢迎来到安美智享！🌟 我是您的专属AI咨询助手，很高兴为您服务。您可以随时向我咨询医美相关问题，获得个性化的美容建议。"


def opened(count: int = 1, **fields: object) -> list[UUID]:
    journeys = accept(count, **fields)
    create_conversation(journeys)
    return journeys


class Ready:
    """Hears whose notification became due."""

    def __init__(self) -> None:
        self.journeys: list[UUID] = []

    def __call__(self, journeys: Collection[UUID]) -> None:
        self.journeys.extend(journeys)


def test_the_agents_text_is_stored_with_what_is_known_of_the_call(agent: SimulatedAgent) -> None:
    (journey,) = opened()
    outcome = generate_welcome([journey], on_ready=Ready())
    assert outcome.done == {journey}
    ((text, sender, source),) = rows("SELECT content ->> 'text', sender_type, source FROM messages")
    assert (sender, source) == ("ai", "agent")
    assert text != DEFAULT_TEXT
    assert rows(
        "SELECT result ->> 'written_by', result -> 'dropped' FROM journey_steps WHERE name = :n", n=WELCOME
    ) == [("agent", False)]
    call = "SELECT status, error_code, duration_ms >= 0, usage IS NOT NULL, task_id IS NOT NULL FROM agent_calls"
    assert rows(call) == [("succeeded", None, True, True, True)]


def test_with_the_agent_down_the_template_goes_out_at_once_and_the_agent_is_tried_again_later() -> None:
    create_agent()
    (journey,) = opened()
    ready = Ready()
    outcome = generate_welcome([journey], on_ready=ready)
    assert (outcome.waiting, ready.journeys) == ({journey}, [journey])
    assert rows("SELECT content ->> 'text', source FROM messages") == [(DEFAULT_TEXT, "template")]
    assert rows("SELECT greeted_by, extract(epoch FROM greeted_at - accepted_at) < 2 FROM journeys") == [
        ("template", True)
    ]
    assert step(journey, WELCOME) == ("waiting", 1, 1, "AGENT_UNREACHABLE")
    assert rows("SELECT status, error_code FROM agent_calls") == [("failed", "AGENT_UNREACHABLE")]


def test_an_agent_that_recovers_follows_the_template(agent: SimulatedAgent) -> None:
    agent.fault("http_error", status=500, count=1)
    (journey,) = opened()
    generate_welcome([journey], on_ready=Ready())
    assert (messages(journey), step(journey, WELCOME)[0]) == (["template"], "waiting")
    retry_now(journey)
    generate_welcome([journey], on_ready=Ready())
    assert messages(journey) == ["template", "agent"]
    assert step(journey, WELCOME) == ("succeeded", 2, 1, None)
    assert rows("SELECT greeted_by FROM journeys") == [("template",)]


def retry_now(journey: UUID) -> None:
    execute("UPDATE journey_steps SET due_at = now() WHERE journey_id = :j AND status = 'waiting'", j=journey)


def test_an_agent_that_never_answers_leaves_the_customer_with_the_template_and_no_dead_letter() -> None:
    automation.change({"retry": {"max_retries": 1, "delays_seconds": [0.01], "jitter": 0}}, actor="test")
    create_agent()
    (journey,) = opened()
    generate_welcome([journey], on_ready=Ready())
    retry_now(journey)
    outcome = generate_welcome([journey], on_ready=Ready())
    assert outcome.done == {journey}
    assert messages(journey) == ["template"]
    assert step(journey, WELCOME)[0] == "succeeded"
    assert rows("SELECT result FROM journey_steps WHERE name = :n", n=WELCOME) == [
        ({"written_by": "template", "fallback": "AGENT_UNREACHABLE"},)
    ]
    assert rows("SELECT count(*) FROM dead_letters") == [(0,)]


def test_what_no_retry_can_mend_is_not_retried(agent: SimulatedAgent) -> None:
    agent.fault("http_error", status=401, code="unauthorized")
    (journey,) = opened()
    assert generate_welcome([journey], on_ready=Ready()).done == {journey}
    assert (messages(journey), step(journey, WELCOME)[:2]) == (["template"], ("succeeded", 1))
    assert rows("SELECT status, error_code FROM agent_calls") == [("failed", "AGENT_BAD_KEY")]


def test_the_next_agent_is_asked_when_the_first_fails(agent: SimulatedAgent) -> None:
    create_agent(name="first choice", position=-1)
    (journey,) = opened()
    assert generate_welcome([journey], on_ready=Ready()).done == {journey}
    assert messages(journey) == ["agent"]
    calls = "SELECT a.name, c.status FROM agent_calls c JOIN agents a ON a.id = c.agent_id ORDER BY c.id"
    assert rows(calls) == [("first choice", "failed"), ("welcome", "succeeded")]


def test_no_agent_at_all_means_the_template(servers: object) -> None:
    (journey,) = opened()
    assert generate_welcome([journey], on_ready=Ready()).done == {journey}
    assert messages(journey) == ["template"]


def test_template_only_asks_no_agent(agent: SimulatedAgent) -> None:
    automation.change({"welcome_strategy": "template_only"}, actor="test")
    (journey,) = opened()
    assert generate_welcome([journey], on_ready=Ready()).done == {journey}
    assert (messages(journey), agent.calls()) == (["template"], 0)
    assert rows("SELECT greeted_by, greeted_at IS NOT NULL FROM journeys") == [("template", True)]


def test_agent_only_sends_no_template_and_ends_in_a_dead_letter() -> None:
    automation.change({"welcome_strategy": "agent_only", "retry": {"max_retries": 0}}, actor="test")
    create_agent()
    (journey,) = opened()
    outcome = generate_welcome([journey], on_ready=Ready())
    assert outcome.failed == {journey}
    assert (messages(journey), journey_status(journey)) == ([], "failed")
    assert rows("SELECT step, status, error_code, attempts FROM dead_letters") == [
        (WELCOME, "open", "AGENT_UNREACHABLE", 1)
    ]
    assert rows("SELECT greet_by_at FROM journeys") == [(None,)]


def test_a_slow_agent_is_overtaken_by_the_template_and_its_answer_follows(agent: SimulatedAgent) -> None:
    agent.fault("slow_run", seconds=1.2)
    automation.change({"welcome_deadline_ms": 800}, actor="test")
    journeys = opened(3)
    ready = Ready()
    assert generate_welcome(journeys, on_ready=ready).done == set(journeys)
    assert [messages(one) for one in journeys] == [["template", "agent"]] * 3
    assert set(ready.journeys) == set(journeys)
    assert agent.calls() == 3
    assert rows("SELECT DISTINCT greeted_by, greeted_at - accepted_at < interval '0.8 s' FROM journeys") == [
        ("template", True)
    ]


def test_a_late_answer_is_dropped_where_that_is_set_and_the_agent_told_to_stop(agent: SimulatedAgent) -> None:
    agent.fault("slow_run", seconds=30)
    automation.change({"welcome_deadline_ms": 600, "late_answer": "drop"}, actor="test")
    (journey,) = opened()
    assert generate_welcome([journey], on_ready=Ready()).done == {journey}
    assert messages(journey) == ["template"]
    assert rows("SELECT error_code FROM agent_calls") == [("CANCELLED",)]


def test_one_slow_call_does_not_hold_up_the_others_of_its_set(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.fault("slow_run", seconds=1.0, count=1)
    journeys = opened(4)
    ready = Ready()
    generate_welcome(journeys, on_ready=ready)
    waits = "SELECT count(*) FROM journeys WHERE greeted_at - accepted_at < interval '0.9 s'"
    assert rows(waits) == [(3,)]
    assert len(ready.journeys) == 3


def test_leases_are_renewed_while_the_agent_writes(agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journey_plan, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(journey_plan, "LEASE_RENEW_SECONDS", 0.2)
    agent.fault("slow_run", seconds=1.5)
    (journey,) = opened()
    assert generate_welcome([journey], on_ready=Ready()).done == {journey}
    assert step(journey, WELCOME) == ("succeeded", 1, 0, None)


def test_a_process_that_is_asked_to_stop_hands_its_calls_back(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.fault("slow_run", seconds=30)
    monkeypatch.setattr(writing, "STOP_GRACE_SECONDS", 0.1)
    shutdown.stopping.set()
    try:
        (journey,) = opened()
        outcome = generate_welcome([journey], on_ready=Ready())
    finally:
        shutdown.stopping.clear()
    assert outcome.done == set()
    assert step(journey, WELCOME) == ("pending", 1, 0, None)
    assert rows("SELECT error_code FROM agent_calls") == [("CANCELLED",)]


def test_overdue_customers_are_greeted_without_any_worker() -> None:
    journeys = accept(3, locale="en-GB")
    execute("UPDATE journeys SET greet_by_at = now()")
    ready = Ready()
    assert greet_overdue(on_ready=ready) == 3
    assert greet_overdue(on_ready=ready) == 0
    assert [messages(one) for one in journeys] == [["template"]] * 3
    assert set(ready.journeys) == set(journeys)
    assert rows("SELECT DISTINCT left(content ->> 'text', 21) FROM messages") == [("Welcome to AnmeiSmart",)]
    assert {step(one, WELCOME)[0] for one in journeys} == {"pending"}


def test_nobody_is_greeted_before_it_is_due() -> None:
    accept()
    assert greet_overdue(on_ready=Ready()) == 0
    assert rows("SELECT count(*) FROM messages") == [(0,)]
