"""What is concluded from a plan: which tables are read as a whole, which statement grows."""

from bench.plan_measuring import numbered, reads_of
from bench.plans import document, whole_reads

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


def a_case(name, *, blocks=10, reads=(), generic_reads=()):
    times = dict.fromkeys(
        ("milliseconds", "lowest_milliseconds", "generic_milliseconds", "generic_lowest_milliseconds"), 1.0
    )
    return {"name": name, **times, "blocks": blocks, "reads": list(reads), "generic_reads": list(generic_reads)}


def test_every_node_that_reads_a_table_is_found_and_writing_is_not_reading():
    assert reads_of(PLAN) == ["webhook_receipts: Seq Scan", "journeys: Index Scan pk_journeys"]


def test_only_whole_reads_of_big_tables_count_by_either_plan():
    case = a_case("accept", reads=["consultants: Seq Scan"], generic_reads=["webhook_receipts: Seq Scan"])
    assert whole_reads(case, {"webhook_receipts", "journeys"}) == ["webhook_receipts"]


def test_parameters_are_numbered_in_their_order_and_percent_signs_stay():
    assert numbered("SELECT %(b)s, %(a)s, %(b)s LIKE '%%'") == "SELECT $1, $2, $1 LIKE '%'"


def test_the_page_says_of_each_statement_whether_it_is_flat():
    before = [a_case("accept"), a_case("claim"), a_case("notify")]
    after = [
        a_case("accept", reads=["webhook_receipts: Seq Scan"]),
        a_case("claim", blocks=20, reads=["journeys: Index Scan pk_journeys"]),
        a_case("notify", blocks=21, reads=["consultants: Seq Scan"]),
    ]
    text = document(1_000_000, before, after, [("webhook_receipts", 1_000_000, 90), ("consultants", 5, 1)])
    lines = {line.split("  ")[0]: line for line in text.splitlines() if "  " in line}
    assert lines["accept"].endswith("reads all of webhook_receipts")
    assert lines["claim"].endswith("indexes only, flat")
    assert lines["notify"].endswith("indexes only, grows")
    assert "| webhook_receipts | 1,000,000 | 90 |" in text
