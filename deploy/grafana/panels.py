"""What a dashboard is made of, and the expressions panels share."""

from dataclasses import dataclass, field

# Figures of the record are the same on every target: one of them, never their sum.
ONE = "max without (instance, job)"
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` maps a legend (Grafana's format) to an expression; units are Grafana's ids."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    # Value → colour, from low to high; the first applies below the second.
    thresholds: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    decimals: int | None = None


@dataclass(frozen=True)
class Variable:
    """A choice at the top of the board, from the values of a label."""

    name: str
    label: str
    metric: str


@dataclass(frozen=True)
class Board:
    """One dashboard: rows of panels under a heading."""

    uid: str
    title: str
    description: str
    rows: dict[str, list[Panel]]
    variables: tuple[Variable, ...] = field(default=())


def quantiles(metric: str, by: str = "", where: str = "") -> dict[str, str]:
    """p50, p95 and p99 of a histogram."""
    selector = f"{metric}_bucket{{{where}}}" if where else f"{metric}_bucket"
    grouped = f"sum by (le{', ' + by if by else ''}) ({ONE} (rate({selector}{RATE})))"
    legend = f"{{{{{by}}}}} " if by else ""
    return {f"{legend}p{q}": f"histogram_quantile(0.{q}, {grouped})" for q in ("50", "95", "99")}


def per_second(metric: str, by: str, where: str = "") -> dict[str, str]:
    """A counter's rate by one label."""
    selector = f"{metric}{{{where}}}" if where else metric
    return {f"{{{{{by}}}}}": f"sum by ({by}) ({ONE} (rate({selector}{RATE})))"}


GOOD_SHARE = ((None, "red"), (0.99, "orange"), (0.995, "green"))
NONE_IS_GOOD = ((None, "green"), (1, "red"))
SOME_IS_GOOD = ((None, "red"), (1, "green"))
WITHIN_TARGET = ((None, "green"), (2.5, "orange"), (3, "red"))
