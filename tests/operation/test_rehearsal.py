"""Workers killed under load, a backup taken meanwhile: the counters are the database's, and the backup goes on elsewhere."""

import pytest

from tests.faults.stack import CONSULTANTS
from tests.operation.rehearsal import Rehearsed, rehearse

COUNT = 100

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def seen() -> Rehearsed:
    return rehearse(count=COUNT, per_second=20, kill_every_seconds=1.2)


def test_every_counter_equals_the_database_after_workers_were_killed(seen: Rehearsed) -> None:
    assert seen.accepted == COUNT
    assert seen.kills >= 3
    assert seen.pages == 3
    assert seen.counters >= 14
    assert seen.differing == []


def test_a_backup_under_load_restores_to_the_same_counts(seen: Rehearsed) -> None:
    assert seen.tables_differing == []
    assert seen.journeys_in_dump >= COUNT // 2
    assert seen.tables > 30


def test_journeys_that_were_under_way_are_resumed_in_the_new_place(seen: Rehearsed) -> None:
    assert seen.under_way_in_dump > 0
    assert seen.after_restore == {
        "succeeded": seen.journeys_in_dump,
        "conversations": seen.journeys_in_dump,
        "greeted": seen.journeys_in_dump,
        "doubled": 0,
        "notifications": seen.journeys_in_dump * CONSULTANTS,
    }
