"""Geometry of the charts, drawn by templates as SVG: numbers in, coordinates out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bar:
    """One column: its failed part stands on its whole."""

    x: float
    y: float
    width: float
    height: float
    failed_height: float
    label: str
    value: int
    failed: int
    shows_label: bool


@dataclass(frozen=True, slots=True)
class Columns:
    width: float
    height: float
    bars: list[Bar]
    ticks: list[tuple[float, int]]


LEFT, TOP, BOTTOM, RIGHT = 44.0, 14.0, 22.0, 14.0


def columns(
    points: Sequence[tuple[str, int, int]], *, width: float = 640, height: float = 180, labels: int = 7
) -> Columns:
    """Return columns for points of (label, whole, failed), with about `labels` labels below them."""
    top = _nice(max((whole for _, whole, _ in points), default=0))
    inner = height - TOP - BOTTOM
    step = (width - LEFT - RIGHT) / max(1, len(points))
    every = max(1, math.ceil(len(points) / labels))
    bars = [
        Bar(
            x=round(LEFT + place * step + step * 0.15, 2),
            y=round(TOP + inner - inner * whole / top, 2),
            width=round(step * 0.7, 2),
            height=round(inner * whole / top, 2),
            failed_height=round(inner * min(failed, whole) / top, 2),
            label=label,
            value=whole,
            failed=failed,
            shows_label=(len(points) - 1 - place) % every == 0,
        )
        for place, (label, whole, failed) in enumerate(points)
    ]
    ticks = [(round(TOP + inner - inner * share, 2), round(top * share)) for share in (0, 0.5, 1)]
    return Columns(width, height, bars, ticks)


def _nice(value: float) -> int:
    """Return a round number that is at least the value, and even, so that its half is whole."""
    if value <= 2:
        return 2
    magnitude = 10 ** math.floor(math.log10(value))
    for factor in (1, 2, 4, 6, 8, 10):
        if factor * magnitude >= value:
            return max(2, int(factor * magnitude))
    return int(10 * magnitude)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some time of something: when it began and ended after acceptance, in milliseconds."""

    row: str
    kind: str
    text: str
    begin_ms: float
    end_ms: float
    x: float = 0.0
    width: float = 0.0


@dataclass(frozen=True, slots=True)
class Lanes:
    """A journey's time as lanes, one per thing that took time."""

    width: float
    height: float
    rows: list[tuple[str, float, list[Stretch]]]
    ticks: list[tuple[float, float]]
    target_x: float | None
    end_ms: float


LANE_HEIGHT, LANE_LEFT, LANE_TOP = 30.0, 170.0, 24.0


def lanes(stretches: Sequence[Stretch], *, target_ms: float, width: float = 820) -> Lanes:
    """Return the stretches placed on a common scale that shows at least the target."""
    end_ms = max([target_ms * 1.1, *(one.end_ms for one in stretches)])
    scale = (width - LANE_LEFT - 12) / end_ms
    names = list(dict.fromkeys(one.row for one in stretches))
    rows = []
    for place, name in enumerate(names):
        placed = [
            Stretch(
                one.row,
                one.kind,
                one.text,
                one.begin_ms,
                one.end_ms,
                round(LANE_LEFT + max(0.0, one.begin_ms) * scale, 2),
                round(max(2.0, (one.end_ms - max(0.0, one.begin_ms)) * scale), 2),
            )
            for one in stretches
            if one.row == name
        ]
        rows.append((name, LANE_TOP + place * LANE_HEIGHT, placed))
    ticks = [(round(LANE_LEFT + end_ms * share * scale, 2), end_ms * share) for share in (0, 0.25, 0.5, 0.75, 1)]
    target_x = round(LANE_LEFT + target_ms * scale, 2)
    return Lanes(width, LANE_TOP + len(names) * LANE_HEIGHT + 8, rows, ticks, target_x, end_ms)
