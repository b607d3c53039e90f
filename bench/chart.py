"""The chart beside the table: journeys a second and CPU of each contestant, drawn as SVG without a library."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from typing import Any

from bench.report import Scenario, median_of
from bench.run import PRODUCT

_WIDTH, _LABEL, _BAR, _ROW, _GAP = 860, 190, 520, 24, 46
_INK, _OURS, _THEIRS = "#1f2933", "#0f766e", "#94a3b8"


def draw(result: Mapping[str, Any]) -> str:
    """Return the chart: two panels over the burst, on logarithmic scales, each bar with its spread."""
    bursts = {name: one["burst"] for name, one in result["contestants"].items() if "burst" in one}
    panels = [
        ("journeys_per_second", "Journeys a second (burst, more is better)", "{:.0f}"),
        ("cpu_ms", "CPU of all processes, ms a journey (burst, less is better)", "{:.2f}"),
    ]
    height, parts = 12, []
    for figure, title, form in panels:
        shown = [(name, scenario) for name, scenario in bursts.items() if median_of(scenario, figure)]
        parts.append(_panel(shown, figure, title, form, top=height))
        height += _GAP + _ROW * len(shown)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13" fill="{_INK}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{"".join(parts)}</svg>\n'
    )


def position(value: float, lowest: float, highest: float) -> float:
    """Return where a value lies between the decades around `lowest` and `highest`, 0 to 1, on a logarithmic scale."""
    first, last = _decades(lowest, highest)
    return (log10(value) - first) / (last - first)


def _decades(lowest: float, highest: float) -> tuple[int, int]:
    first = int(log10(lowest) // 1)
    return first, max(first + 1, -int(-log10(highest) // 1))


def _panel(shown: Sequence[tuple[str, Scenario]], figure: str, title: str, form: str, *, top: int) -> str:
    if not shown:
        return ""
    spreads = [scenario["figures"][figure] for _, scenario in shown]
    lowest, highest = min(one["lowest"] for one in spreads), max(one["highest"] for one in spreads)
    lines = [f'<text x="12" y="{top + 16}" font-weight="bold">{escape(title)}</text>\n']
    for number, ((name, _), spread) in enumerate(zip(shown, spreads, strict=True)):
        y = top + 28 + number * _ROW
        width, start, end = (_BAR * position(spread[key], lowest, highest) for key in ("median", "lowest", "highest"))
        colour = _OURS if name == PRODUCT else _THEIRS
        lines.append(
            f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LABEL}" y="{y + 2}" width="{max(width, 1):.1f}" height="15" fill="{colour}"/>'
            f'<line x1="{_LABEL + start:.1f}" x2="{_LABEL + end:.1f}" y1="{y + 9.5}" y2="{y + 9.5}" stroke="{_INK}"/>'
            f'<text x="{_LABEL + max(width, end) + 8:.1f}" y="{y + 13}">{form.format(spread["median"])}</text>\n'
        )
    return "".join(lines)
