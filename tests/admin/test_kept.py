"""Figures kept for everybody: collected once, renewed behind the reader's back, and never twice at a time."""

import threading

import pytest

from core.errors import DatabaseUnavailableError
from services import kept
from services.kept import Kept
from tests.support.waiting import wait_until


class Source:
    """Collects numbers, counts how often, and takes as long as it is held up."""

    def __init__(self) -> None:
        self.collected = 0
        self.going_on = threading.Event()
        self.going_on.set()
        self.fails = False

    def collect(self, key: str) -> str:
        self.collected += 1
        number = self.collected
        assert self.going_on.wait(10)
        if self.fails:
            raise DatabaseUnavailableError("away")
        return f"{key}{number}"


@pytest.fixture
def source() -> Source:
    return Source()


def test_a_fresh_value_is_collected_once_and_each_key_for_itself(source: Source) -> None:
    values = Kept(source.collect, lambda _: 60.0)
    assert [values.get("a"), values.get("a"), values.get("b")] == ["a1", "a1", "b2"]


def test_many_who_come_at_once_wait_for_one_collection(source: Source) -> None:
    values = Kept(source.collect, lambda _: 60.0)
    source.going_on.clear()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(values.get("a"))) for _ in range(8)]
    for one in threads:
        one.start()
    source.going_on.set()
    for one in threads:
        one.join()
    assert found == ["a1"] * 8


def test_an_older_value_is_answered_at_once_while_the_next_is_collected_once(source: Source) -> None:
    values = Kept(source.collect, lambda _: 0.0)
    assert values.get("a") == "a1"
    source.going_on.clear()
    wait_until(lambda: values.get("a") == "a1" and source.collected == 2)
    assert [values.get("a") for _ in range(5)] == ["a1"] * 5
    assert source.collected == 2
    source.going_on.set()
    wait_until(lambda: values.get("a") != "a1")


def test_what_costs_more_is_collected_less_often(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    values = Kept(source.collect, lambda _: 0.0)
    monkeypatch.setattr(kept, "COST_SHARE", 1e-9)
    assert [values.get("a") for _ in range(5)] == ["a1"] * 5
    assert source.collected == 1


def test_a_value_nobody_asked_for_in_a_long_time_is_not_shown(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    values = Kept(source.collect, lambda _: 0.0)
    values.get("a")
    monkeypatch.setattr(kept, "COST_SHARE", 1e9)
    monkeypatch.setattr(kept, "SHOWN_SECONDS", 0.0)
    monkeypatch.setattr(kept, "SHOWN_PER_COST", 0.0)
    assert values.get("a") == "a2"


def test_a_collection_that_fails_leaves_the_last_value_and_is_tried_again(source: Source) -> None:
    values = Kept(source.collect, lambda _: 0.0)
    values.get("a")
    source.fails = True
    wait_until(lambda: values.get("a") == "a1" and source.collected >= 3)
    source.fails = False
    wait_until(lambda: values.get("a") != "a1")


def test_without_any_value_the_reader_is_told(source: Source) -> None:
    source.fails = True
    with pytest.raises(DatabaseUnavailableError):
        Kept(source.collect, lambda _: 60.0).get("a")


def test_what_was_begun_before_forgetting_is_not_kept(source: Source) -> None:
    values = Kept(source.collect, lambda _: 60.0)
    source.going_on.clear()
    thread = threading.Thread(target=values.get, args=("a",))
    thread.start()
    wait_until(lambda: source.collected == 1)
    values.forget()
    source.going_on.set()
    thread.join()
    assert values.get("a") == "a2"


def test_who_does_not_wait_is_told_nothing_yet_and_has_the_value_later(source: Source) -> None:
    values = Kept(source.collect, lambda _: 60.0)
    source.going_on.clear()
    assert [values.find("a", patience_seconds=0.01) for _ in range(3)] == [None] * 3
    assert source.collected == 1
    source.going_on.set()
    assert values.find("a", patience_seconds=10) == "a1"
    assert (values.get("a"), values.find("a", patience_seconds=0), source.collected) == ("a1", "a1", 1)


def test_who_waits_gets_what_another_began(source: Source) -> None:
    values = Kept(source.collect, lambda _: 60.0)
    source.going_on.clear()
    values.begin("a")
    wait_until(lambda: source.collected == 1)
    source.going_on.set()
    assert (values.get("a"), source.collected) == ("a1", 1)


def test_who_does_not_wait_is_told_once_what_went_wrong(source: Source) -> None:
    values = Kept(source.collect, lambda _: 60.0)
    source.fails = True
    source.going_on.clear()
    assert values.find("a", patience_seconds=0.01) is None
    source.going_on.set()
    with pytest.raises(DatabaseUnavailableError):
        values.find("a", patience_seconds=10)
    source.fails = False
    assert values.find("a", patience_seconds=10) == "a2"


def test_an_old_value_is_no_reason_to_wait(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    values = Kept(source.collect, lambda _: 0.0)
    values.get("a")
    monkeypatch.setattr(kept, "COST_SHARE", 1e9)
    monkeypatch.setattr(kept, "SHOWN_SECONDS", 0.0)
    monkeypatch.setattr(kept, "SHOWN_PER_COST", 0.0)
    source.going_on.clear()
    assert values.find("a", patience_seconds=0.01) is None
    source.going_on.set()
    wait_until(lambda: source.collected >= 2)


def test_several_that_share_the_cost_are_collected_less_often(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "COST_SHARE", 1.0)
    values = Kept(source.collect, lambda _: 0.0, parts=10**9)
    assert [values.get("a") for _ in range(5)] == ["a1"] * 5
    assert source.collected == 1
