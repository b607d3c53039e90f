"""``python -m bench.scaling``: the burst with one, two and four processes of each kind of worker.

On a machine with cores to spare throughput should grow with them; on one without, the same work must not cost more.
"""

from typing import Annotated

import typer

from bench import services
from bench.arithmetic import medians
from bench.report import aligned
from bench.run import simulated_agent
from bench.servers import Servers

WORKERS = (1, 2, 4)


def main(
    burst: Annotated[int, typer.Option(help="Journeys in a burst.")] = 1200,
    rounds: Annotated[int, typer.Option(help="Bursts with each number of workers.")] = 3,
) -> None:
    """Measure each number of workers on a fresh database and print a line for it: medians with their spread."""
    rows = [["worker processes", "journeys/s", "CPU ms", "welcome p99 ms", "by agent", "PSS MB", "reference ms"]]
    with Servers() as servers, simulated_agent(servers) as (bench, secret):
        for workers in WORKERS:
            with services.product(servers, secret, workers=workers) as service:
                bench.warm_up(service, 300)
                figures = medians([bench.burst(service, burst) for _ in range(rounds)])
            shown = [
                f"{spread.median:.{digits}f} ({spread.lowest:.{digits}f}–{spread.highest:.{digits}f})"
                for name, digits in (
                    ("journeys_per_second", 0),
                    ("cpu_ms", 2),
                    ("welcome_ms.p99", 0),
                    ("agent_share", 2),
                    ("pss_mb", 0),
                    ("reference_ms", 1),
                )
                if (spread := figures.get(name))
            ]
            rows.append([f"{workers} and {workers}", *shown])
            print("  ".join(rows[-1]), flush=True)
    print(aligned(rows))


if __name__ == "__main__":
    typer.run(main)
