"""Measures every statement of plan_cases on the configured database, as a process of its own; prints one JSON line.

Arguments: a prefix for the open journeys it makes. Every execution is rolled back.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from bench.plan_cases import Case, cases, make_stages
from core import database

EXECUTIONS = 50
# Enough that psycopg has prepared the statement (5) and PostgreSQL chosen between a generic and a custom plan (5 more).
WARM_UP = 12


@dataclass(frozen=True, slots=True)
class Measured:
    """One statement: median milliseconds with the round trip, the same with the generic plan forced; blocks touched; how it
    reads each table (`table: node`)."""

    name: str
    milliseconds: float
    generic_milliseconds: float
    blocks: int
    reads: list[str]


def main() -> None:
    """Measure all cases."""
    prefix = sys.argv[1]
    stages = make_stages(prefix)
    with database.engine().connect() as connection:
        found = [_measure(connection, case) for case in cases(stages, prefix)]
    print(json.dumps([asdict(one) for one in found]))


def _measure(connection: Connection, case: Case) -> Measured:
    automatic = _median_ms(connection, case)
    _set(connection, "SET plan_cache_mode = force_generic_plan")
    generic = _median_ms(connection, case)
    _set(connection, "SET plan_cache_mode = auto")
    plan = _explain(connection, case)
    root = plan["Plan"]
    blocks = int(root.get("Shared Hit Blocks", 0)) + int(root.get("Shared Read Blocks", 0))
    return Measured(case.name, automatic, generic, blocks, sorted(set(reads_of(root))))


def _median_ms(connection: Connection, case: Case) -> float:
    samples = []
    for number in range(WARM_UP + EXECUTIONS):
        with connection.begin() as transaction:
            session = Session(bind=connection)
            began = time.perf_counter()
            case.call(session)
            took = (time.perf_counter() - began) * 1000
            transaction.rollback()
        if number >= WARM_UP:
            samples.append(took)
    return median(samples)


def _explain(connection: Connection, case: Case) -> dict[str, Any]:
    """Return the plan of the case's statement as it was executed, from PostgreSQL itself."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    with connection.begin() as transaction:
        case.call(Session(bind=connection))
        transaction.rollback()
    event.remove(connection, "before_cursor_execute", note)
    statement, parameters = seen[-1]
    with connection.begin() as transaction:
        cursor = connection.connection.cursor()
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        row = cursor.fetchone()
        transaction.rollback()
    assert row is not None
    plan: dict[str, Any] = row[0][0]
    return plan


def _set(connection: Connection, statement: str) -> None:
    with connection.begin():
        connection.exec_driver_sql(statement)


def reads_of(node: dict[str, Any]) -> list[str]:
    """Return `table: how it is read` for every node of a plan that reads a table."""
    own = []
    if node["Node Type"].endswith("Scan") and "Relation Name" in node:
        index = f" {node['Index Name']}" if "Index Name" in node else ""
        own = [f"{node['Relation Name']}: {node['Node Type']}{index}"]
    elif node["Node Type"] == "Bitmap Heap Scan":
        own = [f"{node['Relation Name']}: Bitmap Heap Scan"]
    return own + [read for child in node.get("Plans", []) for read in reads_of(child)]


if __name__ == "__main__":
    main()
