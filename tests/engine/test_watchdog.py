"""The watchdog: a worker that is idle beside a full queue is deaf; one that is merely idle, busy or slow is not."""

import pytest

from worker.watchdog import DEAF_AFTER_SECONDS, DeafnessDetector, Glance

IDLE_BESIDE_A_FULL_QUEUE = Glance(waiting=3, working=0, received=7)


def deaf_at_the_end(*glances: Glance) -> bool:
    """Return the verdict after these glances, one every five seconds."""
    detector = DeafnessDetector()
    verdicts = [detector.is_deaf(glance, place * 5.0) for place, glance in enumerate(glances)]
    return verdicts[-1]


def test_a_worker_idle_beside_a_full_queue_is_deaf_after_a_while_and_not_before() -> None:
    needed = int(DEAF_AFTER_SECONDS / 5) + 2
    assert deaf_at_the_end(*[IDLE_BESIDE_A_FULL_QUEUE] * needed)
    assert not deaf_at_the_end(*[IDLE_BESIDE_A_FULL_QUEUE] * (needed - 1))


@pytest.mark.parametrize(
    "glance",
    [
        Glance(waiting=0, working=0, received=7),
        Glance(waiting=3, working=1, received=7),
    ],
)
def test_an_idle_or_a_busy_worker_is_not_deaf(glance: Glance) -> None:
    assert not deaf_at_the_end(*[glance] * 20)


def test_a_worker_that_receives_is_not_deaf_however_long_its_queue() -> None:
    assert not deaf_at_the_end(*[Glance(waiting=1000, working=0, received=n) for n in range(20)])


def test_hearing_once_starts_the_clock_again() -> None:
    deaf_nearly = [IDLE_BESIDE_A_FULL_QUEUE] * 5
    assert not deaf_at_the_end(*deaf_nearly, Glance(3, 0, 8), *[Glance(3, 0, 8)] * 3)
