"""One connected trace a registration, as a collector of OpenTelemetry's protocol sees it."""

import os
import subprocess
import sys
from uuid import UUID

import pytest

from core import tracing
from core.ids import new_id
from tests.operation.collector import Span, tree
from tests.operation.conftest import CUSTOMERS, TRACEPARENT, Product
from tests.support.waiting import wait_until

TASKS = {"journey.create_conversation", "journey.generate_welcome", "journey.notify_consultants"}


def complete(spans: list[Span]) -> bool:
    return {span.name for span in spans} >= TASKS and any(not span.parent for span in spans)


@pytest.fixture(scope="module")
def traces(product: Product) -> dict[str, list[Span]]:
    """The traces of the customers who came together; other tests may have registered more."""
    wanted = {UUID(journey).hex for journey in product.journeys}

    def received() -> dict[str, list[Span]]:
        return {trace: spans for trace, spans in product.collector.traces().items() if trace in wanted}

    wait_until(
        lambda: len(received()) == CUSTOMERS and all(complete(spans) for spans in received().values()),
        timeout_seconds=20,
        poll_seconds=0.2,
    )
    return received()


def test_each_registration_has_one_trace_and_its_id_is_the_journeys(
    product: Product, traces: dict[str, list[Span]]
) -> None:
    assert len(traces) == CUSTOMERS
    every_journey = {one.hex for (one,) in product.rows("SELECT id FROM journeys")}
    # The four repeats made no trace of their own, nor did anything else.
    assert set(product.collector.traces()) == every_journey


def test_every_trace_is_connected(traces: dict[str, list[Span]]) -> None:
    for spans in traces.values():
        ids = [span.id for span in spans]
        assert len(set(ids)) == len(ids)
        assert [span.name for span in spans if not span.parent] == ["POST /hooks/registrations"]
        orphans = [span.name for span in spans if span.parent and span.parent not in ids]
        assert orphans == [], tree(spans)
        assert not [span.name for span in spans if span.failed], tree(spans)


def test_a_trace_goes_from_the_webhook_to_the_database_behind_the_agents_tool(traces: dict[str, list[Span]]) -> None:
    for spans in traces.values():
        by_id = {span.id: span for span in spans}
        statements = [span for span in spans if span.service == "anmei-mcp" and span.name == "SELECT"]
        assert statements, tree(spans)
        way = []
        above = statements[0]
        while above.parent:
            way.append((above.name, above.service))
            above = by_id[above.parent]
        assert way == [
            ("SELECT", "anmei-mcp"),
            ("transaction", "anmei-mcp"),
            ("tools/call get_user_profile", "anmei-mcp"),
            ("agent call", "anmei-worker"),
            ("journey.generate_welcome", "anmei-worker"),
            ("send journey.generate_welcome", "anmei-worker"),
            ("journey.create_conversation", "anmei-worker"),
            ("send journey.create_conversation", "anmei-api"),
        ]


def test_what_one_thread_writes_for_many_is_below_the_task_of_each(traces: dict[str, list[Span]]) -> None:
    for spans in traces.values():
        by_id = {span.id: span for span in spans}
        above = {span.name: by_id[span.parent].name for span in spans if span.parent}
        assert above["claim welcomes"] == "journey.generate_welcome"
        assert above["store welcomes"] == "journey.generate_welcome"
        stored = {span.id for span in spans if span.name == "store welcomes"}
        assert any(span.name == "transaction" and span.parent in stored for span in spans)


def test_registrations_that_shared_a_message_keep_their_own_traces(traces: dict[str, list[Span]]) -> None:
    sizes = [
        span.attributes["messaging.batch.message_count"]
        for spans in traces.values()
        for span in spans
        if span.name == "journey.create_conversation"
    ]
    assert max(sizes) > 1
    assert len(sizes) == CUSTOMERS


def test_the_callers_own_trace_is_linked(traces: dict[str, list[Span]]) -> None:
    roots = [span for spans in traces.values() for span in spans if not span.parent]
    assert {span.links for span in roots} == {(TRACEPARENT.split("-")[1],)}


def test_spans_hold_no_personal_data(product: Product, traces: dict[str, list[Span]]) -> None:
    text = "\n".join(f"{span.name} {span.attributes}" for spans in traces.values() for span in spans)
    assert [one for person in product.people for one in person.private if one in text] == []


def test_nothing_of_ours_is_loaded_while_tracing_is_off() -> None:
    code = (
        "import sys, worker.app, api_hooks.app, mcp_server.app; "
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'core.otlp', 'core.tracing_sql'))])"
    )
    environment = {name: value for name, value in os.environ.items() if "OTLP" not in name}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_spans_are_the_same_object_while_tracing_is_off() -> None:
    assert not tracing.enabled()
    journey = new_id()
    with tracing.span("a", [journey]) as outer, tracing.span("b") as inner:
        assert outer is inner
        assert outer.traceparent() is None


def test_a_strangers_header_names_no_place_in_another_trace() -> None:
    mine, other = new_id(), new_id()
    header = f"00-{mine.hex}-{tracing.span_id(5, mine):016x}-01"
    assert tracing.own_in(header, mine) == 5
    assert tracing.own_in(header, other) == tracing.ROOT
    for nonsense in (
        None,
        "",
        "00-zz-1-1",
        f"00-{mine.hex}-zzzzzzzzzzzzzzzz-01",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
    ):
        assert tracing.own_in(nonsense, mine) == tracing.ROOT
