"""What the engine's statements read stays the same as the tables grow, by plans that were made while these were empty."""

from collections import Counter

import pytest
from sqlalchemy import event, text

from bench import bare_sql
from core.database import Pool, engine, journey_work, unit_of_work
from tests.support.factories import create_agent, create_consultant

# Tables that grow with every journey; the others may be read whole. Without the users: other threads of this process read
# them whenever consultants have changed.
GROWING = (
    "journeys",
    "journey_steps",
    "step_attempts",
    "webhook_receipts",
    "conversations",
    "messages",
    "agent_calls",
    "notifications",
    "events",
)
_READ = text("""
SELECT indexrelname, idx_tup_read FROM pg_stat_user_indexes WHERE relname = ANY(:tables)
UNION ALL
SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE relname = ANY(:tables)
""")


def take_through(prefix: str, count: int, set_size: int) -> None:
    """Take so many registrations through all their statements, on the connections that keep their plans."""
    bare_sql.run([bare_sql.registration_row(prefix, number) for number in range(count)], set_size)
    with journey_work() as session:
        session.execute(text("SELECT pg_stat_force_next_flush()"))


def rows_read() -> Counter[str]:
    """Return how many entries of each index, and rows of each table read whole, were read so far; of growing tables only."""
    with unit_of_work() as session:
        return Counter(dict(session.execute(_READ, {"tables": list(GROWING)}).all()))


def rows_read_for_twenty(prefix: str) -> Counter[str]:
    """Return what twenty journeys take: the least of three times, since other threads of this process read as well."""
    found = []
    for number in range(3):
        begun = rows_read()
        take_through(f"{prefix}{number}", 20, 20)
        found.append(rows_read() - begun)
    return min(found, key=Counter.total)


@pytest.mark.parametrize("analysed", [False, True])
def test_a_kept_plan_reads_no_more_beside_many_journeys_than_beside_few(analysed: bool) -> None:
    with unit_of_work() as session:
        # New tables, as the migrations leave them: of one that lost its rows other things are known than of one that had none.
        session.execute(text(f"TRUNCATE {', '.join(GROWING)} CASCADE"))
        if analysed:
            session.execute(text(f"ANALYZE {', '.join(GROWING)}"))
    create_agent("http://127.0.0.1:9/v1", api_key="app-plans")
    create_consultant()
    # One connection, whose plans are made here.
    engine(Pool.JOURNEYS).dispose()
    take_through("first", 20, 20)
    early = rows_read_for_twenty("early")
    take_through("many", 600, 100)
    late = rows_read_for_twenty("late")

    # Old versions of rows that were just changed are read with them; an index or a table read whole would be thousands.
    assert 0 < late.total() <= early.total() * 1.3, late - early


def test_a_connection_that_was_idle_keeps_what_it_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every connection is asked whether it still lives before it is used.
    monkeypatch.setattr("core.database.FRESH_SECONDS", -1.0)
    create_agent("http://127.0.0.1:9/v1", api_key="app-plans")
    engine(Pool.JOURNEYS).dispose()
    take_through("idle", 1, 1)
    with journey_work() as session:
        prepared = session.execute(text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%journey%'"))
        assert prepared.scalar_one() >= 8


def test_the_driver_keeps_what_it_makes_of_each_statement_of_a_journey() -> None:
    """It does so up to 4,096 characters; a longer one it takes apart for each message."""
    journeys = engine(Pool.JOURNEYS)
    lengths: dict[str, int] = {}

    def note(_: object, __: object, statement: str, *___: object) -> None:
        lengths[statement] = len(statement)

    event.listen(journeys, "before_cursor_execute", note)
    try:
        create_consultant()
        create_agent("http://127.0.0.1:9/v1", api_key="k")
        bare_sql.run([bare_sql.registration_row("short", number) for number in range(2)], 2)
    finally:
        event.remove(journeys, "before_cursor_execute", note)
    assert len(lengths) >= 8
    assert {statement[:200]: length for statement, length in lengths.items() if length > 4096} == {}
