"""What processes report of themselves: webhook outcomes, heartbeats, and the broker's queues."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
import redis
from amqp.exceptions import AccessRefused
from kombu import Connection

from clients import broker
from core.database import unit_of_work
from core.errors import BrokerUnavailableError
from core.ids import new_id
from queries import figures_now
from services import figures, heartbeats, webhook_counts
from tests.figures.conftest import Page
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def _new_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_counts, "_counter", None)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


def requests(page: Callable[[], Page], outcome: str) -> float:
    return page()["registration_webhook_requests_total", (("outcome", outcome),)]


def test_outcomes_are_written_by_themselves_within_a_second_or_two(page: Callable[[], Page]) -> None:
    for _ in range(3):
        figures.count_webhook("unauthorized")
    figures.count_webhook("accepted")
    wait_until(lambda: requests(page, "unauthorized") == 3, timeout_seconds=5, poll_seconds=0.1)
    assert requests(page, "accepted") == 1


def test_writing_the_same_counts_twice_counts_once(page: Callable[[], Page]) -> None:
    writer_id = new_id()
    for _ in range(2):
        with unit_of_work() as session:
            figures_now.write_webhook_outcomes(session, writer_id, {"invalid": 5})
    assert requests(page, "invalid") == 5
    with unit_of_work() as session:
        figures_now.write_webhook_outcomes(session, writer_id, {"invalid": 7})
    assert requests(page, "invalid") == 7


def test_counts_of_a_process_that_ended_stay_and_those_of_the_next_are_added(
    page: Callable[[], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures.count_webhook("rate_limited")
    figures.flush()
    # A new process begins with a counter of its own.
    monkeypatch.setattr(webhook_counts, "_counter", None)
    figures.count_webhook("rate_limited")
    figures.count_webhook("rate_limited")
    figures.flush()
    assert requests(page, "rate_limited") == 3


def test_a_writer_that_begins_anew_loses_and_doubles_nothing(page: Callable[[], Page]) -> None:
    figures.count_webhook("accepted")
    counter = webhook_counts._current()
    counter.renew_writer()
    figures.count_webhook("accepted")
    figures.flush()
    counter.renew_writer()
    figures.count_webhook("accepted")
    figures.flush()
    assert requests(page, "accepted") == 3


def test_old_writers_are_folded_together_and_living_ones_left_alone(
    page: Callable[[], Page], connection: psycopg.Connection
) -> None:
    for count in (3, 4):
        with unit_of_work() as session:
            figures_now.write_webhook_outcomes(session, new_id(), {"accepted": count})
    connection.execute("UPDATE webhook_outcomes SET written_at = now() - interval '3 days'")
    with unit_of_work() as session:
        figures_now.write_webhook_outcomes(session, new_id(), {"accepted": 10})
    for _ in range(2):
        figures.roll()
        assert requests(page, "accepted") == 17
    assert connection.execute("SELECT count FROM webhook_outcomes ORDER BY count").fetchall() == [(7,), (10,)]


def test_workers_count_while_they_are_heard_of(page: Callable[[], Page], connection: psycopg.Connection) -> None:
    heartbeats.beat("journeys@one", role="worker", queues=["journeys", "notifications"])
    heartbeats.beat("journeys@one", role="worker", queues=["journeys", "notifications"])
    heartbeats.beat("agents@one", role="worker", queues=["agents"])
    samples = page()
    assert samples["celery_workers", ()] == 2
    assert samples["celery_queue_consumers", (("queue", "journeys"),)] == 1
    assert samples["celery_queue_consumers", (("queue", "maintenance"),)] == 0
    connection.execute("UPDATE worker_heartbeats SET seen_at = now() - interval '20 s' WHERE id = 'agents@one'")
    samples = page()
    assert samples["celery_workers", ()] == 1
    assert samples["celery_queue_consumers", (("queue", "agents"),)] == 0
    heartbeats.leave("journeys@one")
    assert page()["celery_workers", ()] == 0


def test_messages_of_every_priority_are_in_a_queues_length(broker_url: str, redis_url: str) -> None:
    with Connection(broker_url) as sender:
        producer = sender.Producer()
        for priority in (0, 0, 6):
            queue = sender.SimpleQueue("journeys").queue
            producer.publish({}, routing_key="journeys", priority=priority, declare=[queue])
    with redis.Redis.from_url(redis_url) as client:
        assert sum(client.llen(key) for key in client.keys("journeys*")) == 3
    assert broker.queue_lengths(broker_url, ["journeys", "agents"]) == {"journeys": 3, "agents": 0}


def test_a_broker_that_is_away_is_said_to_be_away() -> None:
    for url in ("redis+socket:///nowhere/redis.sock", "amqp://guest:guest@127.0.0.1:9//"):
        with pytest.raises(BrokerUnavailableError):
            broker.queue_lengths(url, ["journeys"])


def test_a_queue_nobody_declared_has_no_messages_over_amqp_either() -> None:
    with Connection("memory://") as connection:
        queue = connection.SimpleQueue("declared")
        queue.put({})
        assert broker._amqp_length(connection, "declared") == 1
        assert broker._amqp_length(connection, "missing") == 0


def test_a_login_the_broker_refuses_is_our_error_not_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(Connection):
        def channel(self) -> object:
            raise AccessRefused("login was refused")

    monkeypatch.setattr(broker, "_Connection", Refused)
    with pytest.raises(BrokerUnavailableError, match="AccessRefused"):
        broker.queue_lengths("amqp://guest:wrong@127.0.0.1:9//", ["journeys"])
