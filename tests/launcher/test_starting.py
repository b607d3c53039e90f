"""What a process does not do while it starts: load what is seldom asked for, and look for garbage in what it loads."""

import gc
from collections.abc import Iterator

import pytest

from core import memory
from tests.support.processes import OwnProcess


@pytest.fixture
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.parametrize("module", ["api_hooks.app", "tasks.journey", "tasks.beat"])
def test_what_is_seldom_asked_for_is_not_loaded(module: str, database: str, broker_url: str) -> None:
    code = f"import sys, {module}; print([one for one in ('alembic', 'apprise') if one in sys.modules])"
    with OwnProcess(["-c", code], {"ANMEI_DATABASE_URL": database, "ANMEI_BROKER_URL": broker_url}) as command:
        assert command.wait() == 0
        assert command.output == "[]\n"


def test_a_start_is_collected_at_its_end(thresholds: None) -> None:
    memory.begin()
    collected = [generation["collections"] for generation in gc.get_stats()]
    loaded = [{"cycle": [number]} for number in range(100_000)]
    assert [generation["collections"] for generation in gc.get_stats()] == collected
    assert len(loaded) == 100_000

    memory.settle()
    assert gc.get_freeze_count() >= 100_000
    assert gc.get_threshold()[0] == memory.YOUNG_OBJECTS
