"""How far a bulk replay is: counted from the record, from its start until every step came to an end."""

from datetime import timedelta
from uuid import UUID

import pytest

from core.clock import utc_now
from core.errors import NotFoundError, PermanentError, TransientError
from models import StepName
from queries.dead_letters import DeadLetterFilter
from queries.replays import Replay
from services import dead_letters, journeys, replays
from services.steps.conversation import create_conversation
from services.steps.failing import record_failures
from tests.engine.conftest import accept, execute, rows

CREATE = StepName.CREATE_CONVERSATION
LOST = PermanentError("lost for good", code="LOST")


def failed_journeys(count: int, code: str = "LOST") -> list[UUID]:
    started = accept(count)
    record_failures(CREATE, dict.fromkeys(started, PermanentError("x", code=code)))
    return started


def make_due() -> None:
    execute("UPDATE journey_steps SET due_at = now() WHERE name = :name AND due_at > now()", name=CREATE)


def counted(found: Replay) -> tuple[int, ...]:
    assert found.waiting + found.running + found.done == found.total
    return (found.total, found.waiting, found.running, found.succeeded, found.failed, found.cancelled)


def test_each_step_is_counted_where_it_stands_until_all_came_to_an_end() -> None:
    started = failed_journeys(6)
    failed_journeys(1, code="OTHER")
    replay_id = dead_letters.replay_many(DeadLetterFilter(error_code="LOST"), actor="op", per_second=0.1).replay_id
    # The first is due at once, each other ten seconds after the one before.
    assert counted(replays.get(replay_id)) == (6, 5, 1, 0, 0, 0)
    make_due()
    assert counted(replays.get(replay_id)) == (6, 0, 6, 0, 0, 0)
    create_conversation(started[:3])
    record_failures(CREATE, {started[3]: LOST})
    record_failures(CREATE, {started[4]: TransientError("busy")})
    assert counted(replays.get(replay_id)) == (6, 0, 2, 3, 1, 0)
    assert not replays.get(replay_id).is_done
    journeys.cancel(started[4], actor="op", reason="test")
    create_conversation(started[5:])
    found = replays.get(replay_id)
    assert counted(found) == (6, 0, 0, 4, 1, 1)
    assert (found.is_done, found.started_by, found.per_second, found.filter) == (
        True,
        "op",
        0.1,
        {"error_code": "LOST"},
    )
    assert timedelta(0) < utc_now() - found.started_at < timedelta(minutes=1)


def test_what_failed_again_and_was_replayed_again_counts_as_it_stands_in_both() -> None:
    started = failed_journeys(2)
    first = dead_letters.replay_many(DeadLetterFilter(), actor="op").replay_id
    make_due()
    record_failures(CREATE, dict.fromkeys(started, LOST))
    assert counted(replays.get(first)) == (2, 0, 0, 0, 2, 0)
    second = dead_letters.replay_many(DeadLetterFilter(), actor="op").replay_id
    make_due()
    create_conversation(started)
    assert [counted(replays.get(one)) for one in (first, second)] == [(2, 0, 0, 2, 0, 0)] * 2


def test_replays_beside_each_other_are_kept_apart() -> None:
    failed_journeys(3)
    failed_journeys(2, code="OTHER")
    failed_journeys(2)
    lost = dead_letters.replay_many(DeadLetterFilter(error_code="LOST"), actor="op").replay_id
    other = dead_letters.replay_many(DeadLetterFilter(error_code="OTHER"), actor="op").replay_id
    assert [replays.get(one).total for one in (lost, other)] == [5, 2]
    assert [one.id for one in replays.recent()] == [other, lost]


def test_one_that_found_nothing_says_so_and_is_not_listed() -> None:
    replay_id = dead_letters.replay_many(DeadLetterFilter(), actor="op").replay_id
    found = replays.get(replay_id)
    assert (counted(found), found.is_done) == ((0, 0, 0, 0, 0, 0), True)
    assert replays.recent() == []


def test_one_of_an_earlier_release_is_found_without_its_bounds() -> None:
    failed_journeys(2)
    dead_letters.replay_many(DeadLetterFilter(), actor="op")
    execute(
        "INSERT INTO audit_log (at, actor, action, subject, after)"
        " SELECT at, actor, action, subject, after - 'first' - 'last' FROM audit_log"
    )
    ((newest,),) = rows("SELECT max(id) FROM audit_log")
    assert replays.get(int(str(newest))).total == 2


@pytest.mark.parametrize("replay_id", [0, 1, 2**62])
def test_what_is_no_replay_is_not_found(replay_id: int) -> None:
    (journey,) = failed_journeys(1)
    (letter,) = dead_letters.listed(DeadLetterFilter(journey_id=journey))
    dead_letters.replay(letter.id, actor="op")
    with pytest.raises(NotFoundError):
        replays.get(replay_id)
