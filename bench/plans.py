"""``python -m bench.plans``: the engine's statements on an empty database, and on one with a million finished journeys.

Each is really executed and rolled back, prepared as the product's connections prepare it; EXPLAIN (ANALYZE, BUFFERS) then
says how it read its tables. Writes docs/plans.md.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from bench.fill import fill, table_sizes
from bench.plan_cases import OPEN
from bench.plan_measuring import EXECUTIONS
from bench.processes import ROOT, Processes
from bench.report import aligned
from bench.servers import Servers
from bench.sizes import CONSULTANTS

# A whole read of a table this small is no trouble whatever else the database holds.
BIG_TABLE_ROWS = 10_000
# A tree of a million entries is two levels deeper than one of a hundred, on every index a statement touches.
GROWTH_FACTOR = 2.0

Case = dict[str, Any]


def main(
    journeys: Annotated[int, typer.Option(help="Finished journeys to fill in.")] = 1_000_000,
    output: Annotated[Path, typer.Option(help="Where the table is written.")] = ROOT / "docs" / "plans.md",
) -> None:
    """Measure before and after, and write the table."""
    # Without fsync: the fill is what takes long, and what is measured is rolled back.
    with Servers(durable=False) as servers:
        environment = {"ANMEI_DATA_DIR": servers.folder, "ANMEI_DATABASE_URL": servers.database_url()}
        environment |= {"ANMEI_BROKER_URL": servers.broker_url, "ANMEI_REDIS_URL": servers.redis_url}
        with Processes(servers.folder, environment) as processes:
            processes.run("-m", "worker.cli", "migrate")
            processes.run("-m", "bench.seed", "http://127.0.0.1:9/v1", str(CONSULTANTS))
            before = _measured(processes, "before")
            began = time.monotonic()
            with psycopg.connect(servers.database_url(), autocommit=True) as connection:
                fill(connection, journeys, say=lambda line: print(line, flush=True))
                sizes = table_sizes(connection)
            print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
            after = _measured(processes, "after")
    text = document(journeys, before, after, sizes)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    print(text)


def _measured(processes: Processes, prefix: str) -> list[Case]:
    found: list[Case] = json.loads(processes.run("-m", "bench.plan_measuring", prefix).splitlines()[-1])
    return found


def whole_reads(case: Case, big: set[str]) -> list[str]:
    """Return the big tables that the statement reads as a whole, by the plan for its values or by the one for any values."""
    reads = [*case["reads"], *case["generic_reads"]]
    return sorted({read.split(":")[0] for read in reads if read.endswith(": Seq Scan")} & big)


def grows(before: Case, after: Case) -> bool:
    """Tell whether a statement touches more blocks than deeper trees explain: blocks are the same however busy a machine is."""
    return bool(after["blocks"] > before["blocks"] * GROWTH_FACTOR)


def document(journeys: int, before: list[Case], after: list[Case], sizes: list[tuple[str, int, int]]) -> str:
    """Return the page: the verdict, the table, how each statement reads, what the database holds."""
    big = {name for name, rows, _ in sizes if rows >= BIG_TABLE_ROWS}
    rows = [["statement", "empty ms", "full ms", "generic, empty", "generic, full", "blocks empty", "full", "verdict"]]
    for first, last in zip(before, after, strict=True):
        rows.append(
            [
                first["name"],
                *(_shown(case, prefix) for prefix in ("", "generic_") for case in (first, last)),
                *(str(case["blocks"]) for case in (first, last)),
                _verdict(first, last, big),
            ]
        )
    reads = "\n".join(f"- **{case['name']}**: {_reads(case)}" for case in after)
    held = "\n".join(f"| {name} | {count:,} | {megabytes:,} |" for name, count, megabytes in sizes)
    return (
        "# Plans\n\n"
        f"The engine's statements for {OPEN} open journeys each, on an empty database and beside {journeys:,} finished journeys. "
        f"Milliseconds: the median of {EXECUTIONS} executions and, in parentheses, the quickest, round trip included, rolled back; "
        "on a busy machine the quickest says more. `generic`: with PostgreSQL's plan for any values forced, which a long-lived "
        "connection may come to use. Blocks of 8 kB touched by one execution decide the verdict: no load changes them. "
        "Written by `python -m bench.plans`.\n\n"
        f"```\n{aligned(rows)}\n```\n\n"
        f"How each statement reads its tables when full (with the generic plan where that differs):\n\n{reads}\n\n"
        f"What the database holds:\n\n| table | rows | MB with indexes |\n| --- | --- | --- |\n{held}\n"
    )


def _shown(case: Case, prefix: str) -> str:
    return f"{case[prefix + 'milliseconds']:.2f} ({case[prefix + 'lowest_milliseconds']:.2f})"


def _reads(case: Case) -> str:
    chosen = "; ".join(case["reads"]) or "no table"
    generic = "; ".join(case["generic_reads"]) or "no table"
    return chosen if generic == chosen else f"{chosen} — generic: {generic}"


def _verdict(before: Case, after: Case, big: set[str]) -> str:
    whole = whole_reads(after, big)
    if whole:
        return f"reads all of {', '.join(whole)}"
    return "indexes only, grows" if grows(before, after) else "indexes only, flat"


if __name__ == "__main__":
    typer.run(main)
