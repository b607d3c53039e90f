"""Dead letters: opened once, told once, replayed with or without other inputs, discarded with a reason."""

from uuid import UUID, uuid4

import pytest

from core.errors import ConflictError, InvalidInputError, NotFoundError, PermanentError
from models import DeadLetterStatus, StepName
from queries.dead_letters import DeadLetterFilter
from services import automation, dead_letters, journeys
from services.steps.conversation import create_conversation
from services.steps.failing import record_failures
from services.steps.notification import notify_consultants
from services.steps.welcome import generate_welcome
from tests.engine.conftest import SimulatedAgent, accept, execute, journey_status, messages, rows, step
from tests.support.factories import create_agent

CREATE, WELCOME, NOTIFY = StepName.CREATE_CONVERSATION, StepName.GENERATE_WELCOME, StepName.NOTIFY_CONSULTANTS
LOST = PermanentError("lost for good", code="LOST")


def failed_journeys(count: int = 1) -> list[UUID]:
    started = accept(count)
    record_failures(CREATE, dict.fromkeys(started, LOST))
    return started


def letter_of(journey: UUID) -> UUID:
    (found,) = dead_letters.listed(DeadLetterFilter(journey_id=journey, status=DeadLetterStatus.OPEN))
    return found.id


def test_a_failure_for_good_opens_one_dead_letter_and_raises_one_alert() -> None:
    (journey,) = failed_journeys()
    record_failures(CREATE, {journey: LOST})
    assert rows("SELECT journey_id, step, status, error_code, error_text, attempts FROM dead_letters") == [
        (journey, CREATE, "open", "LOST", "lost for good", 1)
    ]
    assert rows("SELECT key, occurrences, status FROM alerts") == [
        ("dead_letter:create_conversation:LOST", 1, "pending")
    ]
    assert journey_status(journey) == "failed"


def test_many_failures_of_a_kind_share_one_alert_that_counts_them() -> None:
    failed_journeys(5)
    record_failures(CREATE, dict.fromkeys(accept(2), LOST))
    record_failures(CREATE, dict.fromkeys(accept(1), PermanentError("x", code="OTHER")))
    assert rows("SELECT key, occurrences FROM alerts ORDER BY 1") == [
        ("dead_letter:create_conversation:LOST", 7),
        ("dead_letter:create_conversation:OTHER", 1),
    ]
    assert rows("SELECT count(*) FROM dead_letters") == [(8,)]


def test_a_replay_continues_from_the_failed_step_to_the_end(agent: SimulatedAgent) -> None:
    (journey,) = failed_journeys()
    replayed = dead_letters.replay(letter_of(journey), actor="op")
    assert (replayed.journey_id, replayed.step) == (journey, CREATE)
    assert journey_status(journey) == "running"
    create_conversation([journey])
    generate_welcome([journey], on_ready=lambda _: None)
    notify_consultants([journey], on_told=lambda _: None)
    assert (journey_status(journey), messages(journey)) == ("succeeded", ["agent"])
    assert step(journey, CREATE) == ("succeeded", 2, 0, None)
    assert rows("SELECT status, closed_by, closed_at IS NOT NULL FROM dead_letters") == [("replayed", "op", True)]
    assert rows("SELECT actor, action, subject FROM audit_log") == [
        ("op", "dead_letter.replay", f"dead_letter:{rows('SELECT id FROM dead_letters')[0][0]}")
    ]


def test_a_replay_with_a_payload_uses_its_inputs() -> None:
    (journey,) = failed_journeys()
    dead_letters.replay(letter_of(journey), actor="op", payload={"title": "另一个标题", "tags": ["重放"]})
    create_conversation([journey])
    assert rows("SELECT title, tags FROM conversations") == [("另一个标题", ["重放"])]


def test_a_payload_that_does_not_fit_is_refused_by_name_and_nothing_changes() -> None:
    (journey,) = failed_journeys()
    letter = letter_of(journey)
    with pytest.raises(InvalidInputError, match=r"payload\.titel"):
        dead_letters.replay(letter, actor="op", payload={"titel": "x"})
    assert (journey_status(journey), step(journey, CREATE)[0]) == ("failed", "failed")
    assert rows("SELECT count(*) FROM audit_log") == [(0,)]


def test_a_dead_letter_is_replayed_once() -> None:
    (journey,) = failed_journeys()
    letter = letter_of(journey)
    dead_letters.replay(letter, actor="op")
    with pytest.raises(ConflictError, match="replayed already"):
        dead_letters.replay(letter, actor="op")
    with pytest.raises(NotFoundError):
        dead_letters.replay(uuid4(), actor="op")


def test_a_replay_that_fails_again_opens_another_dead_letter() -> None:
    (journey,) = failed_journeys()
    dead_letters.replay(letter_of(journey), actor="op")
    record_failures(CREATE, {journey: LOST})
    assert rows("SELECT status FROM dead_letters ORDER BY id") == [("replayed",), ("open",)]
    assert journey_status(journey) == "failed"


def test_a_bulk_replay_takes_what_matches_one_after_another() -> None:
    started = failed_journeys(5)
    record_failures(CREATE, dict.fromkeys(accept(1), PermanentError("x", code="OTHER")))
    taken = dead_letters.replay_many(DeadLetterFilter(error_code="LOST"), actor="op", per_second=2)
    assert {one.journey_id for one in taken.items} == set(started)
    due = "SELECT round(extract(epoch FROM due_at - now())::numeric * 2) FROM journey_steps WHERE status = 'pending' AND due_at IS NOT NULL ORDER BY due_at"
    assert [int(str(row[0])) for row in rows(due)] == [0, 1, 2, 3, 4]
    assert rows("SELECT status, count(*) FROM dead_letters GROUP BY 1 ORDER BY 1") == [("open", 1), ("replayed", 5)]
    assert rows("SELECT action, after -> 'count' FROM audit_log") == [("dead_letter.replay_many", 5)]


def test_discarding_cancels_the_journey_and_keeps_the_reason() -> None:
    (journey,) = failed_journeys()
    dead_letters.discard(letter_of(journey), actor="op", reason="test account")
    assert rows("SELECT status, reason, open_steps, finished_at IS NOT NULL FROM journeys") == [
        ("cancelled", "discarded: test account", 0, True)
    ]
    assert rows("SELECT status, reason FROM dead_letters") == [("discarded", "test account")]
    assert [step(journey, name)[0] for name in StepName] == ["failed", "skipped", "skipped"]
    assert create_conversation([journey]).done == set()


def test_discarding_needs_a_reason() -> None:
    (journey,) = failed_journeys()
    with pytest.raises(InvalidInputError):
        dead_letters.discard(letter_of(journey), actor="op", reason="  ")
    assert journey_status(journey) == "failed"


def test_a_failed_journey_is_replayed_from_where_it_stands() -> None:
    (journey,) = failed_journeys()
    assert journeys.replay(journey, actor="op").step is CREATE
    assert rows("SELECT status FROM dead_letters") == [("replayed",)]


def test_a_waiting_step_can_be_hurried() -> None:
    automation.change({"welcome_strategy": "agent_only"}, actor="test")
    create_agent()
    (journey,) = accept()
    create_conversation([journey])
    generate_welcome([journey], on_ready=lambda _: None)
    assert journeys.replay(journey, actor="op").step is WELCOME
    assert generate_welcome([journey], on_ready=lambda _: None).waiting == {journey}
    assert step(journey, WELCOME)[1] == 2


def test_a_step_that_succeeded_or_whose_turn_has_not_come_is_not_replayed(agent: SimulatedAgent) -> None:
    (journey,) = accept()
    with pytest.raises(ConflictError, match="no step of it failed or waits"):
        journeys.replay(journey, actor="op")
    with pytest.raises(ConflictError, match="waits for the step before it"):
        journeys.replay(journey, actor="op", from_step=NOTIFY)
    create_conversation([journey])
    with pytest.raises(ConflictError, match="only a failed or waiting step"):
        journeys.replay(journey, actor="op", from_step=CREATE)
    assert step(journey, NOTIFY)[0] == "pending"
    assert rows("SELECT due_at FROM journey_steps WHERE name = :n", n=NOTIFY) == [(None,)]
    assert rows("SELECT count(*) FROM audit_log") == [(0,)]


def test_a_cancelled_journey_stays_as_it_is_and_its_worker_writes_nothing_more(agent: SimulatedAgent) -> None:
    (journey,) = accept()
    create_conversation([journey])
    journeys.cancel(journey, actor="op", reason="by mistake")
    assert generate_welcome([journey], on_ready=lambda _: None).done == set()
    assert (journey_status(journey), messages(journey)) == ("cancelled", [])
    with pytest.raises(ConflictError, match="cancelled already"):
        journeys.cancel(journey, actor="op")
    execute("UPDATE journeys SET greet_by_at = now()")
    from services.greeting import greet_overdue

    assert greet_overdue(on_ready=lambda _: None) == 0
