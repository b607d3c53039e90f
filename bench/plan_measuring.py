"""Measures every statement of plan_cases on the configured database, as a process of its own; prints one JSON line.

Arguments: a prefix for the open journeys it makes. Every execution is rolled back.
"""

import json
import re
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
    """One statement: milliseconds with the round trip, median and lowest, the same with the generic plan forced; the blocks it
    touched; how it reads each table (`table: node`), by either plan."""

    name: str
    milliseconds: float
    lowest_milliseconds: float
    generic_milliseconds: float
    generic_lowest_milliseconds: float
    blocks: int
    reads: list[str]
    generic_reads: list[str]


def main() -> None:
    """Measure all cases."""
    prefix = sys.argv[1]
    stages = make_stages(prefix)
    with database.engine(database.Pool.JOURNEYS).connect() as connection:
        found = [_measure(connection, case) for case in cases(stages, prefix)]
        _settle(connection)
    print(json.dumps([asdict(one) for one in found]))


def _measure(connection: Connection, case: Case) -> Measured:
    _set(connection, "SET plan_cache_mode = auto")
    automatic = _samples_ms(connection, case)
    _set(connection, "SET plan_cache_mode = force_generic_plan")
    generic = _samples_ms(connection, case)
    _set(connection, "SET plan_cache_mode = auto")
    statement, parameters = _statement_of(connection, case)
    generic_plan = _explain_generic(connection, statement)
    plan = _explain(connection, statement, parameters)
    return Measured(
        case.name,
        median(automatic),
        min(automatic),
        median(generic),
        min(generic),
        int(plan.get("Shared Hit Blocks", 0)) + int(plan.get("Shared Read Blocks", 0)),
        sorted(set(reads_of(plan))),
        sorted(set(reads_of(generic_plan))),
    )


def _samples_ms(connection: Connection, case: Case) -> list[float]:
    samples = []
    for _ in range(WARM_UP + EXECUTIONS):
        with connection.begin() as transaction:
            session = Session(bind=connection)
            began = time.perf_counter()
            case.call(session)
            samples.append((time.perf_counter() - began) * 1000)
            transaction.rollback()
    return samples[WARM_UP:]


def _statement_of(connection: Connection, case: Case) -> tuple[str, Any]:
    """Return the statement the case executes, as the driver gets it."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    with connection.begin() as transaction:
        case.call(Session(bind=connection))
        transaction.rollback()
    event.remove(connection, "before_cursor_execute", note)
    return seen[-1]


def _explain(connection: Connection, statement: str, parameters: Any) -> dict[str, Any]:
    """Return the root of the plan made for these values, as it was executed."""
    with connection.begin() as transaction:
        cursor = connection.connection.cursor()
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        row = cursor.fetchone()
        transaction.rollback()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def _explain_generic(connection: Connection, statement: str) -> dict[str, Any]:
    """Return the root of the plan made for any values (EXPLAIN's GENERIC_PLAN, PostgreSQL 16 and later); it is not executed."""
    with connection.begin() as transaction:
        driver = connection.connection.driver_connection
        assert driver is not None
        # Unprepared, as one plain text: a prepared one would want values for its parameters.
        row = driver.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(statement)}", prepare=False).fetchone()
        transaction.rollback()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def numbered(statement: str) -> str:
    """Return a statement with the driver's `%(name)s` as PostgreSQL's `$1`."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] is None:
            return "%"
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return re.sub(r"%\((\w+)\)s|%%", number, statement)


def _settle(connection: Connection) -> None:
    """End the open journeys, so that the next measurement finds only its own."""
    with connection.begin():
        connection.exec_driver_sql("UPDATE journey_steps SET sweep_at = NULL, due_at = NULL WHERE sweep_at IS NOT NULL")
        connection.exec_driver_sql(
            "UPDATE journeys SET finished_at = now(), status = 'cancelled' WHERE finished_at IS NULL"
        )
        connection.exec_driver_sql("SELECT anmei_number_events(100000)")


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
