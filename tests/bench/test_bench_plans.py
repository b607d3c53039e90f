"""What is concluded from a plan: which tables are read as a whole, which statement grows."""

from bench.plan_measuring import reads_of
from bench.plans import document, grows, whole_reads

PLAN = {
    "Node Type": "ModifyTable",
    "Relation Name": "journeys",
    "Plans": [
        {
            "Node Type": "Nested Loop",
            "Plans": [
                {"Node Type": "Seq Scan", "Relation Name": "webhook_receipts"},
                {"Node Type": "Index Scan", "Relation Name": "journeys", "Index Name": "pk_journeys"},
                {"Node Type": "CTE Scan", "CTE Name": "locked"},
            ],
        }
    ],
}


def a_case(name, milliseconds, reads, generic=1.0):
    return {"name": name, "milliseconds": milliseconds, "generic_milliseconds": generic, "blocks": 10, "reads": reads}


def test_every_node_that_reads_a_table_is_found_and_writing_is_not_reading():
    assert reads_of(PLAN) == ["webhook_receipts: Seq Scan", "journeys: Index Scan pk_journeys"]


def test_only_whole_reads_of_big_tables_count():
    case = a_case(
        "accept", 1.0, ["webhook_receipts: Seq Scan", "consultants: Seq Scan", "journeys: Index Scan pk_journeys"]
    )
    assert whole_reads(case, {"webhook_receipts", "journeys"}) == ["webhook_receipts"]


def test_a_statement_grows_when_it_is_slower_by_half_and_by_more_than_a_millisecond():
    assert grows(1.0, 3.0)
    assert not grows(0.2, 0.9)
    assert not grows(5.0, 8.0)


def test_the_page_says_of_each_statement_whether_it_is_flat():
    before = [a_case("accept", 1.0, []), a_case("claim", 1.0, []), a_case("notify", 1.0, [])]
    after = [
        a_case("accept", 9.0, ["webhook_receipts: Seq Scan"]),
        a_case("claim", 1.5, ["journeys: Index Scan pk_journeys"]),
        a_case("notify", 1.0, ["consultants: Seq Scan"], generic=5.0),
    ]
    text = document(1_000_000, before, after, [("webhook_receipts", 1_000_000, 90), ("consultants", 5, 1)])
    lines = {line.split("  ")[0]: line for line in text.splitlines() if "  " in line}
    assert lines["accept"].endswith("reads all of webhook_receipts")
    assert lines["claim"].endswith("indexes only, flat")
    assert lines["notify"].endswith("indexes only, generic slower")
    assert "| webhook_receipts | 1,000,000 | 90 |" in text
