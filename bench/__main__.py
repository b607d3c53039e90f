"""``python -m bench [--quick]``: measure, print the table, write bench/results/latest.json and the chart beside it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench import chart, report
from bench.processes import ROOT
from bench.run import measure
from bench.sizes import FULL, QUICK


def main(
    quick: Annotated[bool, typer.Option(help="Under two minutes; wider spread.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Contestants to measure, by name; all without it.")] = None,
    output: Annotated[Path, typer.Option(help="Where the result is written; the chart goes beside it.")] = (
        ROOT / "bench" / "results" / "latest.json"
    ),
) -> None:
    """Measure this product and its peers at the same job."""
    result = measure(QUICK if quick else FULL, only=only or (), say=lambda line: print(line, flush=True))
    result["quick"] = quick
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    output.with_suffix(".svg").write_text(chart.draw(result))
    print(report.table(result))
    print(f"written: {output}, {output.with_suffix('.svg')}")


if __name__ == "__main__":
    typer.run(main)
