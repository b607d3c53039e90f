"""How sure a version's figures are, and whether a canary is clearly worse. Pure."""

import math
from dataclasses import dataclass
from uuid import UUID

from services.gateway.settings import CanarySettings


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds between which the true value lies, at the confidence they were computed for."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class VersionFigures:
    """What one version's calls came to over a period, from the record.

    `failed` counts calls without an answer, `refused` answers the guard refused, `fallbacks` customers greeted by the
    template although this version was asked. `median_ms_low` and `median_ms_high` bound the median at 95 %.
    """

    version_id: UUID
    journeys: int = 0
    calls: int = 0
    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    fallbacks: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    median_ms_low: float | None = None
    median_ms_high: float | None = None
    total_tokens: int = 0
    total_price: float = 0.0
    ratings: int = 0
    rating_mean: float | None = None
    rating_deviation: float | None = None

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed

    @property
    def errors(self) -> int:
        """Calls that gave the customer nothing: no answer, or one that was refused."""
        return min(self.finished, self.failed + self.refused)

    def success_interval(self, z: float = 1.96) -> Interval:
        """Return the bounds of the share of calls whose answer could be used."""
        return wilson(self.finished - self.errors, self.finished, z)

    def rating_interval(self, z: float = 1.96) -> Interval | None:
        """Return the bounds of the mean rating, within what a rating may be; None with fewer than two."""
        if self.rating_mean is None or self.ratings < 2:
            return None
        bounds = mean_interval(self.rating_mean, self.rating_deviation or 0.0, self.ratings, z)
        return Interval(max(1.0, bounds.low), min(5.0, bounds.high))


def wilson(successes: int, trials: int, z: float = 1.96) -> Interval:
    """Return Wilson's score interval of a proportion (Wilson 1927): right for few trials and near 0 and 1, unlike p ± z·s."""
    if trials <= 0:
        return Interval(0.0, 1.0)
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    share, square = successes / trials, z * z
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = z / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials))
    # Rounding must not push the share itself out of its own interval.
    return Interval(min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def mean_interval(mean: float, deviation: float, count: int, z: float = 1.96) -> Interval:
    """Return the bounds of a mean from its sample's standard deviation."""
    half = z * deviation / math.sqrt(count) if count > 0 else math.inf
    return Interval(mean - half, mean + half)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to take a canary back, and why, in figures an operator can check."""

    roll_back: bool
    reasons: tuple[str, ...] = ()


def judge_canary(
    canary: VersionFigures, baseline: VersionFigures, settings: CanarySettings, *, circuit_openings: int = 0
) -> Verdict:
    """Tell whether the canary is clearly worse than the baseline on errors, latency or feedback.

    "Clearly" means that both intervals are apart; until the canary has its minimum of calls nothing is said. A baseline
    without enough calls of its own is taken to fail as often as the settings allow. `circuit_openings` in a row without
    closing say the same sooner, for an open circuit keeps calls away.
    """
    reasons = [
        reason
        for reason in (
            _keeps_opening(circuit_openings, settings),
            _worse_on_errors(canary, baseline, settings),
            _worse_on_latency(canary, baseline, settings),
            _worse_on_feedback(canary, baseline, settings),
        )
        if reason is not None
    ]
    return Verdict(bool(reasons), tuple(reasons))


def _keeps_opening(circuit_openings: int, settings: CanarySettings) -> str | None:
    if circuit_openings < settings.max_circuit_openings:
        return None
    return f"circuit: opened {circuit_openings} times in a row"


def _worse_on_errors(canary: VersionFigures, baseline: VersionFigures, settings: CanarySettings) -> str | None:
    if canary.finished < settings.min_calls:
        return None
    least = wilson(canary.errors, canary.finished, settings.z).low
    if baseline.finished >= settings.min_calls:
        most = wilson(baseline.errors, baseline.finished, settings.z).high
    else:
        most = settings.max_error_share
    if least <= most:
        return None
    return f"errors: {canary.errors} of {canary.finished} calls, at least {least:.1%}; the baseline at most {most:.1%}"


def _worse_on_latency(canary: VersionFigures, baseline: VersionFigures, settings: CanarySettings) -> str | None:
    if min(canary.succeeded, baseline.succeeded) < settings.min_calls:
        return None
    least, most = canary.median_ms_low, baseline.median_ms_high
    if least is None or most is None:
        return None
    bound = max(most * settings.latency_factor, most + settings.latency_margin_ms)
    if least <= bound:
        return None
    return f"latency: median at least {least:.0f} ms; the baseline at most {most:.0f} ms, allowed {bound:.0f} ms"


def _worse_on_feedback(canary: VersionFigures, baseline: VersionFigures, settings: CanarySettings) -> str | None:
    if min(canary.ratings, baseline.ratings) < settings.min_ratings:
        return None
    if canary.rating_mean is None or baseline.rating_mean is None:
        return None
    best = mean_interval(canary.rating_mean, canary.rating_deviation or 0.0, canary.ratings, settings.z).high
    least = mean_interval(baseline.rating_mean, baseline.rating_deviation or 0.0, baseline.ratings, settings.z).low
    if best >= least:
        return None
    return f"feedback: mean rating at most {best:.2f}; the baseline at least {least:.2f}"
