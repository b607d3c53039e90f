"""The result as text: one table a scenario, every contestant beside the product."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.arithmetic import ratio
from bench.run import PRODUCT

Scenario = Mapping[str, Any]
# Above this share of the machine in others' hands, absolute figures say little; ratios of one run say more.
BUSY_SHARE = 0.15


def table(result: Mapping[str, Any]) -> str:
    """Return the whole report."""
    contestants = result["contestants"]
    scenarios = dict.fromkeys(name for one in contestants.values() for name in one)
    parts = [_heading(result)]
    parts += [_scenario(name, contestants) for name in scenarios]
    if PRODUCT in contestants:
        parts += [_roles(contestants[PRODUCT])]
    parts.append(_warnings(contestants))
    return "\n\n".join(part for part in parts if part) + "\n"


def median_of(scenario: Scenario, figure: str) -> float | None:
    """Return the median of a figure, None where it was not measured."""
    spread = scenario["figures"].get(figure)
    return None if spread is None else float(spread["median"])


def with_spread(scenario: Scenario, figure: str, digits: int = 0) -> str:
    """Return `median (lowest–highest)`, or a dash."""
    spread = scenario["figures"].get(figure)
    if spread is None:
        return "-"
    return f"{spread['median']:.{digits}f} ({spread['lowest']:.{digits}f}–{spread['highest']:.{digits}f})"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows in columns, the first a heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _heading(result: Mapping[str, Any]) -> str:
    machine, postgresql = result["machine"], result["postgresql"]
    return (
        f"{machine['cores']} cores, {machine['memory_mb']} MB, Python {machine['python']}, PostgreSQL "
        f"{postgresql['server_version']} (fsync {postgresql['fsync']}, synchronous_commit "
        f"{postgresql['synchronous_commit']}), load before {machine['load_before'][0]:.1f}; "
        "median (lowest–highest) of the rounds, CPU of all own processes with PostgreSQL and Redis"
    )


def _scenario(name: str, contestants: Mapping[str, Any]) -> str:
    present = {contestant: one[name] for contestant, one in contestants.items() if name in one}
    product = present.get(PRODUCT)
    heading = [
        "contestant",
        "journeys/s",
        "× product",
        "CPU ms",
        "× product",
        "accept p50/p99 ms",
        "conversation p50/p99",
    ]
    heading += ["welcome p50/p99", "RSS MB", "commits", "WAL kB", "Redis", "by agent", "others", "reference ms"]
    rows = [heading] + [_row(contestant, one, product) for contestant, one in present.items()]
    return f"{name}\n{aligned(rows)}"


def _row(contestant: str, scenario: Scenario, product: Scenario | None) -> list[str]:
    def against(figure: str) -> str:
        reference = median_of(product, figure) if product else None
        return _shown(ratio(median_of(scenario, figure), reference), "{:.2f}")

    def pair(name: str) -> str:
        return "/".join(_shown(median_of(scenario, f"{name}.{share}"), "{:.0f}") for share in ("p50", "p99"))

    wal = median_of(scenario, "wal_bytes")
    return [
        contestant,
        with_spread(scenario, "journeys_per_second"),
        against("journeys_per_second"),
        with_spread(scenario, "cpu_ms", 2),
        against("cpu_ms"),
        pair("accept_ms"),
        pair("conversation_ms"),
        pair("welcome_ms"),
        _shown(median_of(scenario, "peak_rss_mb"), "{:.0f}"),
        _shown(median_of(scenario, "transactions"), "{:.2f}"),
        _shown(wal / 1024 if wal is not None else None, "{:.1f}"),
        _shown(median_of(scenario, "redis_commands"), "{:.1f}"),
        _shown(median_of(scenario, "agent_share"), "{:.0%}"),
        _shown(median_of(scenario, "others_cpu_share"), "{:.0%}"),
        _shown(median_of(scenario, "reference_ms"), "{:.1f}"),
    ]


def _roles(product: Mapping[str, Scenario]) -> str:
    """The product's CPU by process role, in milliseconds a journey."""
    roles = dict.fromkeys(
        figure for scenario in product.values() for figure in scenario["figures"] if "cpu_ms." in figure
    )
    names = [role.replace("outside_cpu_ms.", "(outside) ").replace("cpu_ms.", "") for role in roles]
    rows = [["product's CPU, ms a journey", *names]]
    rows += [
        [name, *(_shown(median_of(scenario, role), "{:.2f}") for role in roles)] for name, scenario in product.items()
    ]
    return aligned(rows)


def _warnings(contestants: Mapping[str, Any]) -> str:
    checks: list[tuple[str, float, Callable[[float], str]]] = [
        ("unfinished", 0, lambda value: f"up to {value:.0f} journeys were not finished in time"),
        ("refused", 0, lambda value: f"up to {value:.0f} registrations were not accepted"),
        ("others_cpu_share", BUSY_SHARE, lambda value: f"others used up to {value:.0%} of the machine"),
    ]
    lines = [
        f"! {contestant}, {name}: {say(highest)}"
        for contestant, name, scenario in _each(contestants)
        for figure, bound, say in checks
        if (highest := float(scenario["figures"].get(figure, {}).get("highest", 0))) > bound
    ]
    return "\n".join(lines)


def _each(contestants: Mapping[str, Any]) -> Iterable[tuple[str, str, Scenario]]:
    for contestant, scenarios in contestants.items():
        for name, scenario in scenarios.items():
            yield contestant, name, scenario


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
