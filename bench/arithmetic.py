"""What the benchmark computes from its samples: percentiles, medians with their spread, ratios, differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds with the lowest and the highest of them."""

    median: float
    lowest: float
    highest: float
    rounds: int

    def as_dict(self) -> dict[str, float]:
        return {"median": self.median, "lowest": self.lowest, "highest": self.highest, "rounds": self.rounds}


def percentile(samples: Sequence[float], share: float) -> float | None:
    """Return the smallest sample that `share` (0 to 1) of the samples do not exceed (nearest rank); None without samples."""
    if not samples:
        return None
    return sorted(samples)[max(0, ceil(share * len(samples)) - 1)]


def spread(rounds: Sequence[float]) -> Spread | None:
    """Return the rounds' median with its spread; None where nothing was measured."""
    if not rounds:
        return None
    return Spread(median(rounds), min(rounds), max(rounds), len(rounds))


def ratio(value: float | None, reference: float | None) -> float | None:
    """Return value / reference; None where either is missing or the reference is 0."""
    if value is None or not reference:
        return None
    return value / reference


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return after - before by key; a key that was not there before counts from 0."""
    return {key: value - before.get(key, 0) for key, value in after.items()}


def per(amounts: Mapping[str, float], count: int, *, factor: float = 1.0) -> dict[str, float]:
    """Return each amount times `factor` for one of `count`; {} where there was none."""
    if count <= 0:
        return {}
    return {key: value * factor / count for key, value in amounts.items()}


def medians(rounds: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    """Return the spread of each figure over the rounds that have it; one that no round has is left out."""
    keys = dict.fromkeys(key for one in rounds for key in one)
    found = {key: spread([value for one in rounds if (value := one.get(key)) is not None]) for key in keys}
    return {key: value for key, value in found.items() if value is not None}
