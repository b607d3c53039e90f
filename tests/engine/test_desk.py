"""The desk: what comes together is written together, and a fault of one journey stays that journey's."""

import threading
from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError

from clients.agents import AgentCode
from core.database import unit_of_work
from core.errors import DatabaseUnavailableError
from models import StepName
from queries import effects
from queries import steps as step_queries
from services import automation, circuits
from services.asking import Asking, Call
from services.greeting import greet_overdue
from services.steps import claiming, writing
from services.steps.conversation import create_conversation
from services.steps.errand import Errand, Finish
from services.steps.outcome import Outcome
from services.steps.welcome import generate_welcome
from services.steps.writing import Writing
from tasks import beat
from tests.engine.conftest import SimulatedAgent, accept, execute, messages, rows, step
from tests.support.waiting import wait_until

WELCOME = StepName.GENERATE_WELCOME


def opened(count: int = 1) -> list[UUID]:
    journeys = accept(count)
    create_conversation(journeys)
    return journeys


class Task(threading.Thread):
    """A task with an errand, on a thread of its own as in a worker."""

    def __init__(self, journeys: Sequence[UUID]) -> None:
        super().__init__(daemon=True)
        self._journeys = journeys
        self.outcome: Outcome | None = None
        self.error: Exception | None = None
        self.ready: list[UUID] = []
        self.start()

    def run(self) -> None:
        try:
            self.outcome = generate_welcome(self._journeys, on_ready=self.ready.extend)
        except Exception as error:  # noqa: BLE001 - kept for the test to look at
            self.error = error

    def done(self) -> set[UUID]:
        self.join(10)
        assert self.error is None
        assert self.outcome is not None
        return self.outcome.done


def test_tasks_that_come_together_share_their_statements(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.fault("slow_run", seconds=0.3)
    claimed: list[int] = []
    claim = claiming._claim

    def counted(errand_of: Mapping[UUID, Errand]) -> claiming.Batch:
        claimed.append(len(errand_of))
        return claim(errand_of)

    monkeypatch.setattr(claiming, "_claim", counted)
    journeys = opened(12)
    tasks = [Task([one]) for one in journeys]
    assert [task.done() for task in tasks] == [{one} for one in journeys]
    assert sum(claimed) == 12
    assert len(claimed) < 12
    assert [messages(one) for one in journeys] == [["agent"]] * 12
    assert agent.calls() == 12


def test_an_answer_the_database_refuses_fails_its_own_journey_only(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    journeys = opened(3)
    store = Writing._store

    def refusing(self: Writing, finishes: Sequence[Finish]) -> dict[UUID, UUID | None]:
        if any(one.welcome is not None and one.welcome.journey_id == journeys[1] for one in finishes):
            raise DataError("INSERT", {}, ValueError("refused"))
        return store(self, finishes)

    monkeypatch.setattr(Writing, "_store", refusing)
    outcome = generate_welcome(journeys, on_ready=lambda _: None)
    assert (outcome.done, outcome.failed) == ({journeys[0], journeys[2]}, {journeys[1]})
    assert [messages(one) for one in journeys] == [["agent"], [], ["agent"]]
    assert step(journeys[1], WELCOME)[0] == "failed"
    assert agent.calls() == 3


def test_a_write_that_meets_a_full_disk_is_repeated_and_the_agent_is_not(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    (journey,) = opened()
    store, failures = effects.store_welcomes, iter([OSError(28, "no space"), OSError(28, "no space")])

    def full(*args: object, **kwargs: object) -> object:
        error = next(failures, None)
        if error is not None:
            raise error
        return store(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(effects, "store_welcomes", full)
    assert generate_welcome([journey], on_ready=lambda _: None).done == {journey}
    assert (messages(journey), agent.calls()) == (["agent"], 1)
    assert step(journey, WELCOME) == ("succeeded", 1, 0, None)


def test_a_lease_of_its_own_that_ran_out_is_claimed_again_and_the_first_call_hung_up(agent: SimulatedAgent) -> None:
    agent.fault("slow_run", seconds=30, count=1)
    (journey,) = opened()
    first = Task([journey])
    wait_until(lambda: agent.calls() == 1)
    execute("UPDATE journey_steps SET lease_until = now() WHERE lease_token IS NOT NULL")
    second = Task([journey])
    assert second.done() == {journey}
    assert first.done() == set()
    assert messages(journey) == ["agent"]
    assert rows("SELECT attempt, error_code FROM agent_calls ORDER BY attempt") == [(1, "LEASE_EXPIRED"), (2, None)]


def test_with_all_calls_taken_the_next_wait_unclaimed_and_follow(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.fault("slow_run", seconds=0.4, count=2)
    automation.change({"gateway": {"max_concurrent_calls": 2}}, actor="test")
    journeys = opened(4)
    most = 0
    start = Asking._start

    def watched(self: Asking, calls: Sequence[Call]) -> None:
        nonlocal most
        start(self, calls)
        most = max(most, len(self._calls))

    monkeypatch.setattr(Asking, "_start", watched)
    tasks = [Task([one]) for one in journeys]
    assert [task.done() for task in tasks] == [{one} for one in journeys]
    assert most == 2
    assert [step(one, WELCOME) for one in journeys] == [("succeeded", 1, 0, None)] * 4


def test_a_fault_of_the_desk_itself_is_raised_by_the_tasks_and_the_desk_goes_on(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = opened(2)

    def broken(self: Writing, finishes: Sequence[Finish]) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Writing, "_finish", broken)
        with pytest.raises(ZeroDivisionError):
            generate_welcome([first], on_ready=lambda _: None)
    assert generate_welcome([second], on_ready=lambda _: None).done == {second}
    assert messages(first) == []
    execute("UPDATE journey_steps SET lease_until = now() WHERE lease_token IS NOT NULL")
    assert generate_welcome([first], on_ready=lambda _: None).done == {first}


def test_a_process_that_stopped_claims_nothing_more(agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    (journey,) = opened()
    monkeypatch.setattr(writing, "STOP_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(Writing, "_is_stopped", lambda _: True)
    assert generate_welcome([journey], on_ready=lambda _: None) == Outcome()
    assert (step(journey, WELCOME)[0], agent.calls()) == ("pending", 0)


def test_a_database_that_is_away_for_one_claim_costs_no_call_that_is_open(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.fault("slow_run", seconds=0.6, count=1)
    first, second = opened(2)
    task = Task([first])
    wait_until(lambda: agent.calls() == 1)

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError("the database is not available: OperationalError")

    with monkeypatch.context() as patch:
        patch.setattr(step_queries, "claim_steps", away)
        with pytest.raises(DatabaseUnavailableError):
            generate_welcome([second], on_ready=lambda _: None)
    assert task.done() == {first}
    assert generate_welcome([second], on_ready=lambda _: None).done == {second}
    assert agent.calls() == 2
    assert [step(one, WELCOME) for one in (first, second)] == [("succeeded", 1, 0, None)] * 2


def test_an_agent_is_not_asked_for_what_would_be_dropped(agent: SimulatedAgent) -> None:
    automation.change({"late_answer": "drop"}, actor="test")
    journeys = opened(2)
    execute("UPDATE journeys SET greet_by_at = now()")
    assert greet_overdue(on_ready=lambda _: None) == 2
    execute("UPDATE journeys SET greeted_at = NULL WHERE id = :j", j=journeys[1])
    assert generate_welcome(journeys, on_ready=lambda _: None).done == set(journeys)
    assert agent.calls() == 0
    assert [messages(one) for one in journeys] == [["template"]] * 2
    assert rows("SELECT DISTINCT result ->> 'fallback' FROM journey_steps WHERE name = :n", n=WELCOME) == [
        ("DEADLINE",)
    ]


def test_a_call_that_fails_after_a_switch_to_templates_ends_in_the_template_not_in_a_dead_letter(
    agent: SimulatedAgent,
) -> None:
    agent.fault("hung_headers", seconds=0.6)
    (journey,) = opened()
    task = Task([journey])
    wait_until(lambda: rows("SELECT count(*) FROM agent_calls") == [(1,)])
    automation.change({"welcome_strategy": "template_only"}, actor="test")
    agent.fault("http_error", status=401, code="unauthorized")
    execute("UPDATE agents SET timeout_ms = 100")
    assert task.done() == {journey}
    assert rows("SELECT count(*) FROM dead_letters") == [(0,)]
    assert messages(journey) in (["template"], ["agent"])


def test_a_half_open_circuit_is_asked_for_a_probe_once_a_set(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((agent_id,),) = rows("SELECT id FROM agents")
    circuits.report([(agent_id, agent_id, str(AgentCode.BAD_KEY))], automation.current().gateway.breaker)
    execute("UPDATE agent_circuits SET opened_at = now() - interval '1 hour'")
    asked: list[bool] = []
    claim_probe = circuits.claim_probe

    def counted(*arguments: object) -> bool:
        asked.append(claim_probe(*arguments))  # type: ignore[arg-type]
        return asked[-1]

    monkeypatch.setattr(circuits, "claim_probe", counted)
    probes = automation.current().gateway.breaker.probes
    outcome = generate_welcome(opened(probes + 5), on_ready=lambda _: None)
    assert asked == [True] * probes + [False]
    assert (len(outcome.done), len(outcome.waiting)) == (probes, 5)


def test_one_journey_in_a_transaction_that_hangs_keeps_nobody_else_from_being_greeted(servers: object) -> None:
    journeys = opened(3)
    execute("UPDATE journeys SET greet_by_at = now()")
    with unit_of_work() as hanging:
        hanging.execute(text("SELECT 1 FROM journeys WHERE id = :j FOR UPDATE"), {"j": journeys[0]})
        greet_overdue(on_ready=lambda _: None)
        assert [messages(one) for one in journeys] == [[], ["template"], ["template"]]
    assert greet_overdue(on_ready=lambda _: None) == 1
    assert messages(journeys[0]) == ["template"]


def test_journeys_whose_conversation_failed_do_not_hide_the_others(servers: object) -> None:
    (stuck,) = accept(1)
    execute("UPDATE journey_steps SET status = 'failed', due_at = NULL WHERE journey_id = :j AND position = 1", j=stuck)
    (other,) = accept(1)
    execute("UPDATE journeys SET greet_by_at = now()")
    assert greet_overdue(on_ready=lambda _: None) == 1
    assert messages(other) == ["template"]


def test_customers_are_greeted_while_the_broker_hangs(servers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(_: object) -> None:
        released.wait(20)

    monkeypatch.setattr(beat, "publish_notify", hang)
    running = beat.Beat()
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        for _ in range(2):
            (journey,) = opened()
            execute("UPDATE journeys SET greet_by_at = now() WHERE id = :j", j=journey)
            wait_until(lambda journey=journey: messages(journey) == ["template"])  # type: ignore[misc]
    finally:
        running.stopping.set()
        released.set()
        thread.join(10)
    assert not thread.is_alive()


def test_a_message_larger_than_the_room_is_taken_in_parts(
    agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.fault("slow_run", seconds=0.2)
    automation.change({"gateway": {"max_concurrent_calls": 3}}, actor="test")
    journeys = opened(8)
    open_calls: list[int] = []
    start = Asking._start

    def watched(self: Asking, calls: Sequence[Call]) -> None:
        start(self, calls)
        open_calls.append(len(self._calls))

    monkeypatch.setattr(Asking, "_start", watched)
    assert generate_welcome(journeys, on_ready=lambda _: None).done == set(journeys)
    assert max(open_calls) == 3
    assert [step(one, WELCOME) for one in journeys] == [("succeeded", 1, 0, None)] * 8
    assert agent.calls() == 8
