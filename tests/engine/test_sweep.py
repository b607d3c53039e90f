"""The sweep: finds what is due, orphaned or was never sent, each time further apart, and fails what kills its workers."""

from uuid import UUID

from models import StepName
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
