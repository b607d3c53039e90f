"""Where deployment files are, and the programs that judge them."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
# Names that Prometheus and the client library bring themselves.
FOREIGN_METRICS = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
_PROMQL_WORDS = {
    *(
        "max",
        "min",
        "sum",
        "count",
        "group",
        "without",
        "by",
        "on",
        "ignoring",
        "and",
        "or",
        "unless",
        "bool",
        "absent",
    ),
    *("rate", "increase", "deriv", "histogram_quantile", "clamp_min", "clamp_max", "min_over_time", "time", "vector"),
}


def program(name: str, package: str) -> str:
    """Return the path of a program, or skip the test saying how to get it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rule_groups() -> list[dict[str, Any]]:
    return [
        group for path in sorted((DEPLOY / "prometheus/rules").glob("*.yml")) for group in load_yaml(path)["groups"]
    ]


def metric_names(expression: str) -> set[str]:
    """Return the metrics and recorded series an expression names."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\"[^\"]*\"", " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    words = set(re.findall(r"[a-zA-Z_][a-zA-Z0-9_:]*", bare))
    return {word for word in words if word not in _PROMQL_WORDS and not re.fullmatch(r"e\d*", word)}


def known_metrics() -> set[str]:
    """Return every series name of the metrics page, and what the recording rules add."""
    from services.figures_catalog import METRICS, Kind

    names = set(FOREIGN_METRICS)
    for metric in METRICS:
        parts = ("_bucket", "_count", "_sum") if metric.kind is Kind.HISTOGRAM else ("",)
        names |= {metric.name + part for part in parts}
    return names | {rule["record"] for group in rule_groups() for rule in group["rules"] if "record" in rule}
