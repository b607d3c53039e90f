"""``python -m bench.endurance``: one start of the product, burst after burst, while its database fills.

Says whether a journey costs the same, and each process holds the same memory, after the first thousand and after the last.
``--stored`` fills in finished journeys beforehand (not durable, as bench.plans does it).
"""

from typing import Annotated

import psycopg
import typer

from bench import services
from bench.fill import fill
from bench.measuring import Figures
from bench.report import aligned
from bench.run import simulated_agent
from bench.servers import Servers

ROLES = ("api", "worker", "agents", "beat", "postgres", "redis")


def main(
    journeys: Annotated[int, typer.Option(help="Journeys in all.")] = 100_000,
    burst: Annotated[int, typer.Option(help="Journeys at a time.")] = 10_000,
    stored: Annotated[int, typer.Option(help="Finished journeys to fill in before.")] = 0,
) -> None:
    """Send the journeys burst by burst and print one line for each."""
    rows = [["stored before", "journeys/s", "CPU ms", *(f"{role} ms" for role in ROLES), *_memory_heading(), "WAL kB"]]
    with (
        Servers() as servers,
        simulated_agent(servers) as (bench, secret),
        services.product(servers, secret) as service,
    ):
        if stored:
            with psycopg.connect(service.database_url, autocommit=True) as connection:
                fill(connection, stored, say=lambda line: print(line, flush=True))
                connection.execute("VACUUM ANALYZE")
        bench.warm_up(service, 300)
        for begun in range(0, journeys, burst):
            figures = bench.burst(service, min(burst, journeys - begun))
            rows.append(_row(stored + begun, figures))
            print("  ".join(rows[-1]), flush=True)
    print(aligned(rows))


def _memory_heading() -> list[str]:
    return [f"{role} MB" for role in ROLES]


def _row(stored: int, figures: Figures) -> list[str]:
    def shown(name: str, digits: int, factor: float = 1.0) -> str:
        value = figures.get(name)
        return "-" if value is None else f"{value * factor:.{digits}f}"

    costs = [shown(f"cpu_ms.{role}", 2) for role in ROLES]
    memory = [shown(f"pss_mb.{role}", 0) for role in ROLES]
    wal = shown("wal_bytes", 1, 1 / 1000)
    return [str(stored), shown("journeys_per_second", 0), shown("cpu_ms", 2), *costs, *memory, wal]


if __name__ == "__main__":
    typer.run(main)
