"""Intervals, and when a canary is clearly worse."""

import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.settings import CanarySettings
from services.gateway.statistics import VersionFigures, judge_canary, mean_interval, wilson

SETTINGS = CanarySettings(z=1.96)
BASELINE = VersionFigures(
    UUID(int=1), calls=1000, succeeded=980, failed=20, refused=5, p50_ms=900, median_ms_low=880, median_ms_high=920,
    ratings=200, rating_mean=4.6, rating_deviation=0.6,
)  # fmt: skip


def canary(**figures: object) -> VersionFigures:
    return replace(BASELINE, version_id=UUID(int=2), **figures)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # From Wilson's formula as tabulated by Newcombe (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_bounds(successes: int, trials: int, low: float, high: float) -> None:
    interval = wilson(successes, trials, 1.959964)

    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_an_interval_holds_its_share_and_stays_a_probability(one: int, two: int) -> None:
    successes, trials = min(one, two), max(one, two)
    interval = wilson(successes, trials)

    assert 0 <= interval.low <= interval.high <= 1
    if trials:
        assert interval.low <= successes / trials <= interval.high


def test_no_calls_say_nothing() -> None:
    assert wilson(0, 0) == wilson(0, 0, 5)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
    assert mean_interval(4, 1, 0).low == float("-inf")


def test_more_successes_than_trials_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        wilson(3, 2)


def test_an_equal_canary_stays() -> None:
    assert not judge_canary(canary(), BASELINE, SETTINGS).roll_back


def test_a_canary_that_fails_half_the_time_goes_back_after_its_minimum_of_calls() -> None:
    failing = canary(calls=20, succeeded=10, failed=10, refused=0)

    verdict = judge_canary(failing, BASELINE, SETTINGS)

    assert verdict.roll_back
    assert verdict.reasons == ("errors: 10 of 20 calls, at least 29.9%; the baseline at most 3.7%",)
    assert not judge_canary(replace(failing, succeeded=9), BASELINE, SETTINGS).roll_back


def test_a_canary_whose_answers_are_refused_goes_back() -> None:
    assert judge_canary(canary(calls=40, succeeded=40, failed=0, refused=30), BASELINE, SETTINGS).roll_back


def test_without_a_baseline_the_allowed_share_is_the_measure() -> None:
    nothing = VersionFigures(UUID(int=1))

    assert judge_canary(canary(succeeded=10, failed=10, refused=0), nothing, SETTINGS).roll_back
    assert not judge_canary(canary(succeeded=17, failed=3, refused=0), nothing, SETTINGS).roll_back


def test_a_much_slower_canary_goes_back_a_little_slower_one_stays() -> None:
    assert judge_canary(canary(median_ms_low=1500, median_ms_high=1700), BASELINE, SETTINGS).roll_back
    assert not judge_canary(canary(median_ms_low=1300, median_ms_high=1500), BASELINE, SETTINGS).roll_back
    fast = replace(BASELINE, median_ms_low=40, median_ms_high=60)
    assert not judge_canary(canary(median_ms_low=200, median_ms_high=220), fast, SETTINGS).roll_back


def test_a_less_liked_canary_goes_back() -> None:
    assert judge_canary(canary(ratings=50, rating_mean=3.5, rating_deviation=1.0), BASELINE, SETTINGS).roll_back
    assert not judge_canary(canary(ratings=10, rating_mean=1.0, rating_deviation=0.0), BASELINE, SETTINGS).roll_back
    assert not judge_canary(canary(ratings=50, rating_mean=4.5, rating_deviation=0.6), BASELINE, SETTINGS).roll_back


def test_a_canary_whose_circuit_keeps_opening_goes_back_without_its_minimum_of_calls() -> None:
    few = canary(calls=12, succeeded=4, failed=8, refused=0)

    assert not judge_canary(few, BASELINE, SETTINGS, circuit_openings=2).roll_back
    verdict = judge_canary(few, BASELINE, SETTINGS, circuit_openings=3)
    assert verdict.reasons == ("circuit: opened 3 times in a row",)


def test_chance_alone_rarely_takes_an_equal_canary_back() -> None:
    dice = random.Random(7)
    taken_back = 0
    for _ in range(500):
        bad, worse = (sum(dice.random() < 0.05 for _ in range(count)) for count in (900, 100))
        baseline = replace(BASELINE, succeeded=900 - bad, failed=bad, refused=0)
        taken_back += judge_canary(canary(succeeded=100 - worse, failed=worse, refused=0), baseline, SETTINGS).roll_back

    assert taken_back <= 10
