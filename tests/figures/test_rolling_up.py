"""Totals rolled up and the live count on top agree with the rows themselves, at every moment."""

import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

import psycopg
import pytest

from core.clock import utc_now
from core.database import unit_of_work
from queries import figures as queries
from queries.figures import Count
from services import figures
from tests.figures import writers
from tests.support.waiting import wait_until


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    # The horizon alone has to be right; the slack would hide it.
    monkeypatch.setattr(figures, "SLACK_SECONDS", 0.0)


def added(counts: Iterable[Count]) -> Counter[tuple[object, ...]]:
    sums: Counter[tuple[object, ...]] = Counter()
    for count in counts:
        sums[count.figure, count.labels, count.le, "events"] += count.events
        sums[count.figure, count.labels, count.le, "us"] += count.sum_us
    return sums


def totals_and_truth() -> tuple[Counter[tuple[object, ...]], Counter[tuple[object, ...]]]:
    """What the page would be made of, and what the rows say, in one snapshot."""
    with unit_of_work() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        totals = queries.list_totals(session)
        live = queries.list_live(session, queries.get_watermarks(session))
        return added([*totals, *live]), added(queries.list_directly(session))


def totals_alone() -> Counter[tuple[object, ...]]:
    with unit_of_work() as session:
        return added(queries.list_totals(session))


def test_concurrent_writers_are_counted_once_at_every_moment(database: str) -> None:
    stop = threading.Event()
    lived = [0] * 4

    def write(number: int) -> None:
        chance = random.Random(number)
        with psycopg.connect(database, autocommit=True) as own:
            while not stop.is_set():
                writers.live_a_journey(own, chance, stop)
                lived[number] += 1

    def keep_rolling() -> None:
        while not stop.is_set():
            figures.roll()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    threads += [threading.Thread(target=keep_rolling) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        compared = 0
        while min(lived) < 12 or compared < 20:
            counted, truth = totals_and_truth()
            assert counted == truth
            compared += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    figures.roll()
    counted, truth = totals_and_truth()
    assert counted == truth
    accepted = ("registration_journeys_accepted_total", (), queries.INFINITE, "events")
    assert counted[accepted] == sum(lived)
    # Journeys that ended well are in the totals, not merely counted live.
    assert 0 < totals_alone()[accepted] <= sum(lived)


def test_a_row_committed_after_younger_ones_were_rolled_up_is_not_missed(
    database: str, connection: psycopg.Connection
) -> None:
    accepted = ("registration_journeys_accepted_total", (), queries.INFINITE, "events")
    with psycopg.connect(database) as late:
        writers.finish(late, writers.insert_journey(late))
        for _ in range(3):
            writers.finish(connection, writers.insert_journey(connection))
        figures.roll()
        assert totals_alone()[accepted] == 0
        assert totals_and_truth()[0][accepted] == 3
        late.commit()
    figures.roll()
    assert totals_alone()[accepted] == 4
    counted, truth = totals_and_truth()
    assert counted == truth


def test_an_attempt_that_ends_after_it_was_passed_is_counted_when_it_ends(connection: psycopg.Connection) -> None:
    succeeded = ("registration_step_attempts_total", ("create_conversation", "succeeded"), queries.INFINITE, "events")
    attempt_id = writers.begin_attempt(connection, writers.insert_journey(connection), "create_conversation")
    figures.roll()
    assert connection.execute("SELECT source FROM figure_pending ORDER BY source").fetchall() == [
        ("journey_ends",),
        ("journeys",),
        ("step_attempts",),
    ]
    assert totals_and_truth()[0][succeeded] == 0
    writers.end_attempt(connection, attempt_id)
    assert totals_and_truth()[0][succeeded] == 1
    figures.roll()
    assert totals_alone()[succeeded] == 1
    figures.roll()
    assert totals_alone()[succeeded] == 1
    assert connection.execute("SELECT source FROM figure_pending ORDER BY source").fetchall() == [
        ("journey_ends",),
        ("journeys",),
    ]


def test_totals_outlive_the_rows_they_counted(connection: psycopg.Connection) -> None:
    journey_id = writers.insert_journey(connection)
    writers.finish(connection, journey_id)
    figures.roll()
    connection.execute("DELETE FROM journeys WHERE id = %s", (journey_id,))
    succeeded = ("registration_journeys_total", ("succeeded",), queries.INFINITE, "events")
    assert totals_and_truth() == (totals_alone(), Counter())
    assert totals_alone()[succeeded] == 1


def test_a_pending_row_that_is_deleted_is_forgotten(connection: psycopg.Connection) -> None:
    journey_id = writers.insert_journey(connection)
    figures.roll()
    connection.execute("DELETE FROM journeys WHERE id = %s", (journey_id,))
    figures.roll()
    assert connection.execute("SELECT count(*) FROM figure_pending").fetchone() == (0,)
    counted, truth = totals_and_truth()
    assert +counted == truth == Counter()


def test_more_rows_of_one_moment_than_a_batch_holds_are_rolled_up(
    connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "ROLL_BATCH_ROWS", 2)
    with connection.transaction():
        for _ in range(7):
            writers.finish(connection, writers.insert_journey(connection))
    for _ in range(5):
        writers.finish(connection, writers.insert_journey(connection))
    # Each journey is looked at for its beginning and for its end.
    assert figures.roll() == 2 * 12
    accepted = ("registration_journeys_accepted_total", (), queries.INFINITE, "events")
    assert totals_alone()[accepted] == 12
    assert totals_and_truth()[0] == totals_and_truth()[1]


def test_while_somebody_else_rolls_up_nothing_is_done_and_nothing_waits(
    database: str, connection: psycopg.Connection
) -> None:
    writers.insert_journey(connection)
    with psycopg.connect(database) as other:
        other.execute("SELECT pg_advisory_xact_lock(7300007)")
        assert figures.roll() == 0
    assert connection.execute("SELECT count(*) FROM figure_sources").fetchone() == (0,)
    assert figures.roll() == 2


def test_the_horizon_is_never_past_the_oldest_transaction(database: str) -> None:
    with psycopg.connect(database) as idle, unit_of_work() as session:
        begun = idle.execute("SELECT now()").fetchone()
        assert begun is not None
        assert queries.get_horizon(session, slack_seconds=0) <= begun[0]
    wait_until(lambda: _horizon_age() < timedelta(seconds=1))


def _horizon_age() -> timedelta:
    with unit_of_work() as session:
        return utc_now() - queries.get_horizon(session, slack_seconds=0)
