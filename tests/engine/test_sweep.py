"""The sweep: finds what is due, orphaned or was never sent, each time further apart, and fails what kills its workers."""

from uuid import UUID, uuid4

from core.database import journey_work
from models import StepName
from queries import steps as step_queries
from services import journey_plan, sweep
from services.steps.conversation import create_conversation
from tests.engine.conftest import accept, execute, journey_status, rows, step

CREATE, WELCOME = StepName.CREATE_CONVERSATION, StepName.GENERATE_WELCOME


def look_now() -> None:
    execute("UPDATE journey_steps SET sweep_at = now() WHERE sweep_at IS NOT NULL")


def test_what_was_never_published_is_found_once_and_later_again_further_apart() -> None:
    journeys = accept(3)
    assert sweep.take_due().steps == {}
    distances = []
    for _ in range(7):
        look_now()
        assert set(sweep.take_due().steps[CREATE]) == set(journeys)
        assert sweep.take_due().steps == {}
        distances.append(
            rows("SELECT DISTINCT round(extract(epoch FROM sweep_at - now())) FROM journey_steps WHERE position = 1")[
                0
            ][0]
        )
    assert distances == [1, 2, 4, 8, 16, 30, 30]


def stand_in_line(waited_seconds: float) -> list[UUID]:
    """Have one welcome begin now that was due for so long, and two more that are due for a second; return those two."""
    journeys = accept(3)
    create_conversation(journeys)
    execute(
        "UPDATE journey_steps SET due_at = now() - make_interval(secs => :s) WHERE due_at <= now()", s=waited_seconds
    )
    with journey_work() as connection:
        step_queries.claim_steps(
            connection,
            WELCOME,
            journeys[:1],
            token=uuid4(),
            worker="w",
            lease_seconds=journey_plan.LEASE_SECONDS,
            handle_seconds=600,
        )
    execute(
        "UPDATE journey_steps SET due_at = now() - interval '1 s', sweep_at = now() WHERE name = :s AND status = 'pending'",
        s=WELCOME,
    )
    return journeys[1:]


def test_what_stands_in_line_behind_work_in_progress_gets_no_second_message_at_the_first_look() -> None:
    waiting = stand_in_line(waited_seconds=2.5)
    assert sweep.take_due().steps == {}
    # Twice what the last one begun had waited, from when it was due.
    assert rows(
        "SELECT round(extract(epoch FROM sweep_at - now())) FROM journey_steps WHERE journey_id = ANY(:w) AND published = 1",
        w=waiting,
    ) == [(4,), (4,)]
    look_now()
    assert set(sweep.take_due().steps[WELCOME]) >= set(waiting)


def test_what_was_handed_back_stands_in_no_line() -> None:
    waiting = stand_in_line(waited_seconds=2.5)
    execute("UPDATE journey_steps SET due_at = sweep_at WHERE status = 'pending' AND name = :s", s=WELCOME)
    assert set(sweep.take_due().steps[WELCOME]) == set(waiting)


def test_what_waits_longer_than_others_did_has_lost_its_message() -> None:
    waiting = stand_in_line(waited_seconds=0.2)
    assert set(sweep.take_due().steps[WELCOME]) == set(waiting)


def test_work_begun_long_ago_says_nothing_of_the_line() -> None:
    waiting = stand_in_line(waited_seconds=2.5)
    execute("UPDATE journey_steps SET sweep_at = now() + interval '5 s' WHERE status = 'running'")
    assert set(sweep.take_due().steps[WELCOME]) == set(waiting)


def test_nobody_stands_in_line_for_ever() -> None:
    stand_in_line(waited_seconds=1000)
    assert sweep.take_due().steps == {}
    assert rows(
        "SELECT max(sweep_at) <= now() + make_interval(secs => :s) FROM journey_steps WHERE status = 'pending'",
        s=journey_plan.LEASE_SECONDS,
    ) == [(True,)]


def test_a_finished_journey_is_not_looked_at() -> None:
    (journey,) = accept()
    create_conversation([journey])
    execute("UPDATE journey_steps SET status = 'succeeded', due_at = NULL, sweep_at = NULL")
    look_now()
    assert sweep.take_due().steps == {}


def test_a_message_that_could_not_be_sent_is_tried_again_soon() -> None:
    (journey,) = accept()
    for _ in range(5):
        look_now()
        sweep.take_due()
    sweep.look_again_soon(CREATE, [journey])
    assert rows("SELECT sweep_at - now() <= interval '1 s' FROM journey_steps WHERE position = 1") == [(True,)]


def test_a_step_that_kills_its_workers_fails_with_a_dead_letter_instead_of_killing_another() -> None:
    (journey,) = accept()
    create_conversation([journey])
    lose_attempts(journey, journey_plan.MAX_LOST_ATTEMPTS - 2)
    assert sweep.take_due().steps == {WELCOME: [journey]}
    lose_attempts(journey, journey_plan.MAX_LOST_ATTEMPTS)
    assert sweep.take_due().steps == {}
    assert step(journey, WELCOME)[0] == "failed"
    assert journey_status(journey) == "failed"
    assert rows("SELECT step, error_code, status FROM dead_letters") == [(WELCOME, "WORKER_LOST", "open")]


def lose_attempts(journey: UUID, attempts: int) -> None:
    """Leave the step as a worker that died in its last attempt does, after so many of that kind."""
    execute("DELETE FROM step_attempts WHERE step = :s", s=WELCOME)
    execute(
        "INSERT INTO step_attempts (id, journey_id, step, attempt, outcome, started_at, error_code) "
        "SELECT gen_random_uuid(), :j, :s, n, 'lost', now(), 'LEASE_EXPIRED' FROM generate_series(1, :n) n",
        j=journey,
        s=WELCOME,
        n=attempts,
    )
    execute(
        "UPDATE journey_steps SET status = 'running', attempts = :n, lease_token = gen_random_uuid(), lease_until = now(), "
        "sweep_at = now(), published = 0 WHERE journey_id = :j AND name = :s",
        j=journey,
        s=WELCOME,
        n=attempts,
    )
