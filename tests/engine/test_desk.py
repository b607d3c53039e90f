"""The desk: what comes together is written together, and a fault of one journey stays that journey's."""

import threading
from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy.exc import DataError

from models import StepName
from queries import effects
from services import automation
from services.asking import Asking, Call
from services.steps import writing
from services.steps.conversation import create_conversation
from services.steps.errand import Errand, Finish
from services.steps.outcome import Outcome
from services.steps.welcome import generate_welcome
from services.steps.writing import Writing
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
    claim = Writing._claim

    def counted(self: Writing, errands: Sequence[Errand]) -> None:
        claimed.append(len(errands))
        claim(self, errands)

    monkeypatch.setattr(Writing, "_claim", counted)
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
