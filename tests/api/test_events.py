"""Events are numbered after their commit: no reader skips one, whatever commits in whatever order."""

import contextlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import func, select, text, update

from core.clock import utc_now
from core.database import unit_of_work
from models import AuthSession, Event, LoginFailures
from queries import auth as auth_queries
from queries import events as queries
from queries.events import NewEvent
from services import events
from tests.api.conftest import Person
from tests.support.factories import create_user

WRITERS, EACH, READERS = 6, 20, 4


class ChangedMindError(Exception):
    """Rolls a writer back."""


def test_readers_beside_writers_that_commit_in_any_order_see_each_event_once_and_in_one_order(database: str) -> None:
    done = threading.Event()

    def write(writer: int) -> None:
        chance = random.Random(writer)
        for number in range(EACH):
            # What is held open here commits after what others write meanwhile; some of it is never committed at all.
            with contextlib.suppress(ChangedMindError), unit_of_work() as session:
                queries.append_events(session, [NewEvent("consultants", "n", {"writer": writer, "number": number})])
                session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": chance.random() * 0.02})
                if chance.random() < 0.2:
                    raise ChangedMindError

    def read(_: int) -> list[int]:
        position, seen = 0, []
        while True:
            finished = done.is_set()
            found = events.news(position)
            seen += [event.seq for event in found]
            position = seen[-1] if seen else 0
            if finished and not found:
                return seen

    with ThreadPoolExecutor(WRITERS + READERS) as pool:
        reading = [pool.submit(read, one) for one in range(READERS)]
        try:
            list(pool.map(write, range(WRITERS)))
        finally:
            done.set()
        seen = [one.result(30) for one in reading]
    with unit_of_work() as session:
        stored = list(session.scalars(select(Event.seq).order_by(Event.seq)))
    assert WRITERS * EACH * 0.5 < len(stored) < WRITERS * EACH
    assert None not in stored
    for of_reader in seen:
        assert of_reader == stored


def test_a_writer_that_hangs_delays_its_own_event_and_no_other(database: str) -> None:
    with unit_of_work() as hanging:
        queries.append_events(hanging, [NewEvent("consultants", "hanging", {})])
        with unit_of_work() as other:
            queries.append_events(other, [NewEvent("consultants", "other", {})])
        assert [event.type for event in events.news(0)] == ["other"]
    assert [event.type for event in events.news(0)] == ["other", "hanging"]


def test_the_position_lies_before_everything_committed_later(database: str) -> None:
    assert events.position() == 0
    for number in range(3):
        with unit_of_work() as session:
            queries.append_events(session, [NewEvent("consultants", "n", {})])
        position = events.position()
        assert position > number
        assert events.news(position) == []


def test_an_event_with_a_known_cause_is_not_written_again(database: str) -> None:
    for _ in range(2):
        with unit_of_work() as session:
            queries.append_events(session, [NewEvent("consultants", "n", {}, dedup_key="cause")] * 2)
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 1


def test_old_events_are_forgotten_and_numbers_go_on(database: str) -> None:
    with unit_of_work() as session:
        queries.append_events(session, [NewEvent("consultants", "n", {"n": n}) for n in range(4)])
    last = events.news(0)[-1].seq
    with unit_of_work() as session:
        old = select(Event.id).order_by(Event.id).limit(3).scalar_subquery()
        session.execute(update(Event).where(Event.id.in_(old)).values(created_at=utc_now() - timedelta(days=8)))
    with unit_of_work() as session:
        assert queries.delete_old(session) == 3
        assert queries.delete_old(session) == 0
    assert [event.seq for event in events.news(0)] == [last]
    assert events.has_gap_after(last - 3)
    assert not events.has_gap_after(last - 1)
    assert not events.has_gap_after(last)
    assert events.has_gap_after(last + 1)


def test_ended_sessions_and_old_failures_are_forgotten_and_live_ones_stay(admin: Person) -> None:
    user = create_user()
    with unit_of_work() as session:
        session.add(AuthSession(user_id=user.id, kind="staff", expires_at=utc_now() - timedelta(days=31)))
        session.add(LoginFailures(key="old", failures=1, counted_from=utc_now() - timedelta(days=2)))
        session.add(LoginFailures(key="new", failures=1))
    with unit_of_work() as session:
        assert auth_queries.delete_old(session) == 2
    with unit_of_work() as session:
        assert session.scalars(select(AuthSession.user_id)).all() == [admin.user_id]
        assert "new" in session.scalars(select(LoginFailures.key)).all()
