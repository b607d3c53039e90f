"""The metrics page: complete, well-formed, cheap for several scrapers, and honest about what it cannot read."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, update

from core import database as core_database
from core.clock import utc_now
from core.ids import new_id
from core.settings import get_settings
from models import JourneyStep
from services import automation, figures, retention
from tests.figures import writers
from tests.figures.conftest import Page
from tests.support.factories import create_agent, create_journey

# Section 7 of the contract; the labels are part of it.
CONTRACT = {
    "registration_webhook_requests_total": {"outcome"},
    "registration_journeys_total": {"outcome"},
    "registration_journeys_open": {"status"},
    "registration_step_duration_seconds": {"step"},
    "registration_step_attempts_total": {"step", "outcome"},
    "registration_queue_wait_seconds": {"queue"},
    "registration_conversation_latency_seconds": set(),
    "registration_welcome_latency_seconds": {"source"},
    "registration_dead_letters_open": set(),
    "registration_oldest_open_journey_seconds": set(),
    "agent_calls_total": {"agent", "version", "outcome"},
    "agent_call_duration_seconds": {"agent", "version"},
    "agent_circuit_state": {"agent"},
    "mcp_tool_calls_total": {"tool", "group", "outcome"},
    "mcp_tool_call_duration_seconds": {"tool"},
    "consultant_notifications_total": {"channel", "outcome"},
    "consultant_claim_seconds": set(),
    "welcome_feedback_rating": set(),
    "celery_queue_length": {"queue"},
    "celery_workers": set(),
}


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


def labels(**given: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items()))


def test_the_page_parses_and_every_histogram_is_one(connection: psycopg.Connection) -> None:
    journey_id = writers.insert_journey(connection)
    for step in writers.STEPS:
        writers.end_attempt(connection, writers.begin_attempt(connection, journey_id, step))
    writers.greet(connection, journey_id)
    figures.forget()
    families = list(text_string_to_metric_families(figures.render().decode()))
    assert len({family.name for family in families}) == len(families)
    histograms = [family for family in families if family.type == "histogram"]
    assert len(histograms) >= 7
    for family in histograms:
        series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        counts, sums = {}, {}
        for sample in family.samples:
            of = labels(**{name: value for name, value in sample.labels.items() if name != "le"})
            if sample.name.endswith("_bucket"):
                series.setdefault(of, []).append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_count"):
                counts[of] = sample.value
            else:
                sums[of] = sample.value
        for of, buckets in series.items():
            assert [bound for bound, _ in buckets] == sorted({bound for bound, _ in buckets})
            assert [value for _, value in buckets] == sorted(value for _, value in buckets)
            assert buckets[-1] == (float("inf"), counts[of])
            assert sums[of] >= 0


def test_a_duration_on_a_bound_counts_in_that_bucket(connection: psycopg.Connection, page: Callable[[], Page]) -> None:
    for milliseconds in (50, 100, 101, 3_000, 3_001, 1_000_000):
        journey_id = writers.insert_journey(connection)
        connection.execute(
            "UPDATE journeys SET conversation_at = accepted_at + make_interval(secs => %s / 1000.0) WHERE id = %s",
            (milliseconds, journey_id),
        )
    samples = page()
    name = "registration_conversation_latency_seconds"
    within = {
        dict(key)["le"]: value for (sample, key), value in samples.items() if sample == f"{name}_bucket" and value > 0
    }
    assert within["0.05"] == 1
    assert within["0.1"] == 2
    assert within["0.25"] == 3
    assert within["2.5"] == 3
    assert within["3.0"] == 4
    assert within["5.0"] == 5
    assert within["900.0"] == 5
    assert within["+Inf"] == samples[f"{name}_count", ()] == 6
    assert samples[f"{name}_sum", ()] == 1006.252


def test_a_journey_failed_once_and_replayed_is_one_failure_and_one_success(
    connection: psycopg.Connection, page: Callable[[], Page]
) -> None:
    journey_id = writers.insert_journey(connection)
    writers.fail(connection, journey_id, "generate_welcome")
    writers.fail(connection, journey_id, "notify_consultants")
    samples = page()
    assert samples["registration_journeys_total", labels(outcome="failed")] == 1
    assert samples["registration_journeys_total", labels(outcome="succeeded")] == 0
    assert samples["registration_journeys_open", labels(status="failed")] == 1
    assert samples["registration_dead_letters_open", ()] == 2
    assert samples["registration_oldest_open_journey_seconds", ()] == 0
    connection.execute("UPDATE dead_letters SET status = 'replayed', closed_at = now()")
    writers.finish(connection, journey_id)
    samples = page()
    assert samples["registration_journeys_total", labels(outcome="failed")] == 1
    assert samples["registration_journeys_total", labels(outcome="succeeded")] == 1
    assert samples["registration_journeys_open", labels(status="failed")] == 0
    assert samples["registration_dead_letters_open", ()] == 0
    assert samples["registration_dead_letters_total", labels(step="generate_welcome")] == 1


def test_a_greeting_is_judged_when_its_time_is_up_and_not_before(
    connection: psycopg.Connection, page: Callable[[], Page]
) -> None:
    def accepted(seconds_ago: float, greeted_after: float | None) -> None:
        journey_id = writers.insert_journey(connection)
        connection.execute(
            "UPDATE journeys SET accepted_at = now() - make_interval(secs => %s),"
            " greet_by_at = now() - make_interval(secs => %s - 3) WHERE id = %s",
            (seconds_ago, seconds_ago, journey_id),
        )
        if greeted_after is not None:
            connection.execute(
                "UPDATE journeys SET greeted_at = accepted_at + make_interval(secs => %s) WHERE id = %s",
                (greeted_after, journey_id),
            )

    accepted(60, 1)
    accepted(60, 3)
    accepted(60, 4)
    accepted(60, None)
    accepted(0, 0.5)
    accepted(0, None)
    samples = page()
    assert samples["registration_journeys_accepted_total", ()] == 6
    assert samples["registration_greetings_due_total", ()] == 4
    assert samples["registration_greetings_in_time_total", ()] == 2
    assert samples["registration_greetings_overdue", ()] == 1
    assert 60 <= samples["registration_oldest_open_journey_seconds", ()] < 90


def test_first_attempts_waited_since_the_step_before_was_done(
    connection: psycopg.Connection, page: Callable[[], Page]
) -> None:
    journey_id = writers.insert_journey(connection)
    connection.execute(
        "UPDATE journeys SET conversation_at = accepted_at + interval '1 s', greeted_at = accepted_at + interval '2 s' WHERE id = %s",
        (journey_id,),
    )
    for step, attempt, begun in (
        ("create_conversation", 1, 0.25),
        ("generate_welcome", 1, 1.5),
        ("generate_welcome", 2, 60),
        # Made ready while the welcome was waiting for its retry: nobody knows since when.
        ("notify_consultants", 1, 1.75),
    ):
        attempt_id = writers.begin_attempt(connection, journey_id, step, attempt)
        connection.execute(
            "UPDATE step_attempts a SET outcome = 'succeeded', started_at = accepted_at + make_interval(secs => %s),"
            " finished_at = accepted_at + make_interval(secs => %s) FROM journeys j WHERE j.id = a.journey_id AND a.id = %s",
            (begun, begun, attempt_id),
        )
    samples = page()
    name = "registration_queue_wait_seconds"
    assert samples[f"{name}_sum", labels(queue="journeys")] == 0.25
    assert samples[f"{name}_sum", labels(queue="agents")] == 0.5
    assert samples[f"{name}_count", labels(queue="agents")] == 1
    assert samples[f"{name}_count", labels(queue="notifications")] == 0


def test_known_labels_are_there_before_anything_happened(page: Callable[[], Page]) -> None:
    samples = page()
    assert samples["registration_journeys_total", labels(outcome="failed")] == 0
    assert samples["registration_webhook_requests_total", labels(outcome="rate_limited")] == 0
    assert samples["registration_step_attempts_total", labels(step="generate_welcome", outcome="lost")] == 0
    assert samples["celery_workers", ()] == 0


def test_every_metric_of_the_contract_is_in_the_catalogue_with_its_labels() -> None:
    from services.figures_catalog import METRICS

    known = {metric.name: set(metric.labels) for metric in METRICS}
    assert {name: known.get(name) for name in CONTRACT} == CONTRACT


def test_no_label_carries_an_id_a_name_or_a_number_of_a_customer(connection: psycopg.Connection) -> None:
    journey_id = writers.insert_journey(connection)
    writers.end_attempt(connection, writers.begin_attempt(connection, journey_id, "create_conversation"))
    figures.forget()
    body = figures.render().decode()
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", body)
    allowed = set().union(*CONTRACT.values()) | {"le", "part", "generation", "implementation"}
    allowed |= {"major", "minor", "patchlevel", "version", "settings", "state", "kind"}
    found = {name for line in body.splitlines() if line[0] != "#" for name in re.findall(r'(\w+)="', line)}
    assert found <= allowed


def test_several_scrapers_at_once_cost_one_collection(connection: psycopg.Connection) -> None:
    figures.forget()
    figures.render()
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(core_database.engine(), "before_cursor_execute", note)
    try:
        figures.forget()
        figures.render()
        once = len(statements)
        statements.clear()
        figures.forget()
        bodies: list[bytes] = []
        scrapers = [threading.Thread(target=lambda: bodies.append(figures.render())) for _ in range(8)]
        for scraper in scrapers:
            scraper.start()
        for scraper in scrapers:
            scraper.join()
    finally:
        event.remove(core_database.engine(), "before_cursor_execute", note)
    assert once > 5
    assert len(statements) == once
    assert len(bodies) == 8
    assert len(set(bodies)) == 1


def test_without_the_database_its_figures_are_missing_not_zero(
    connection: psycopg.Connection, page: Callable[[], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    writers.finish(connection, writers.insert_journey(connection))
    assert page()["registration_journeys_total", labels(outcome="succeeded")] == 1
    monkeypatch.setenv("ANMEI_DATABASE_URL", "postgresql://postgres@/nothing?host=/nowhere")
    _settings_anew()
    try:
        samples = page()
    finally:
        monkeypatch.undo()
        _settings_anew()
    assert samples["anmei_figures_up", labels(part="database")] == 0
    assert samples["anmei_figures_up", labels(part="broker")] == 1
    assert samples["celery_queue_length", labels(queue="journeys")] == 0
    assert not [name for name, _ in samples if name.startswith("registration_")]
    assert ("process_resident_memory_bytes", ()) in samples
    assert page()["registration_journeys_total", labels(outcome="succeeded")] == 1


def test_without_the_broker_queue_lengths_are_missing_and_the_record_is_there(
    page: Callable[[], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANMEI_BROKER_URL", "redis+socket:///nowhere/redis.sock")
    _settings_anew()
    try:
        samples = page()
    finally:
        monkeypatch.undo()
        _settings_anew()
    assert samples["anmei_figures_up", labels(part="broker")] == 0
    assert samples["anmei_figures_up", labels(part="database")] == 1
    assert not [name for name, _ in samples if name == "celery_queue_length"]
    assert samples["celery_workers", ()] == 0


def _settings_anew() -> None:
    get_settings.cache_clear()
    core_database.dispose()


def test_agents_show_calls_by_version_and_the_worst_of_their_circuits(
    connection: psycopg.Connection, page: Callable[[], Page]
) -> None:
    agent = create_agent(name="小安")
    create_agent(name="小美")
    create_agent(name="off", enabled=False)
    version_id = new_id()
    connection.execute(
        "INSERT INTO agent_versions (id, agent_id, number, created_by) VALUES (%s, %s, 3, 'test')",
        (version_id, agent.id),
    )
    for status, version, seconds in (("succeeded", version_id, 2), ("failed", None, 4), ("running", None, None)):
        connection.execute(
            "INSERT INTO agent_calls (id, attempt, agent_id, version_id, status, started_at, finished_at)"
            " VALUES (%s, 1, %s, %s, %s, now(), now() + make_interval(secs => %s))",
            (new_id(), agent.id, version, status, seconds),
        )
    connection.execute(
        "INSERT INTO agent_calls (id, attempt, agent_id, started_at) VALUES (%s, 1, %s, now() - interval '61 min')",
        (new_id(), agent.id),
    )
    for circuit_id, state in ((version_id, "open"), (agent.id, "half_open")):
        connection.execute(
            "INSERT INTO agent_circuits (id, agent_id, state) VALUES (%s, %s, %s)", (circuit_id, agent.id, state)
        )
    samples = page()
    calls = {key: value for (name, key), value in samples.items() if name == "agent_calls_total"}
    assert calls == {
        labels(agent="小安", version="3", outcome="succeeded"): 1,
        labels(agent="小安", version="0", outcome="failed"): 1,
        labels(agent="小安", version="0", outcome="lost"): 1,
    }
    assert samples["agent_call_duration_seconds_sum", labels(agent="小安", version="0")] == 4
    assert samples["agent_call_duration_seconds_count", labels(agent="小安", version="0")] == 1
    assert {key: value for (name, key), value in samples.items() if name == "agent_circuit_state"} == {
        labels(agent="小安"): 2,
        labels(agent="小美"): 0,
    }


def test_the_retention_shows_its_rows_its_last_success_and_what_is_switched_on(page: Callable[[], Page]) -> None:
    before = page()
    assert before["anmei_retention_rows_total", labels(kind="messages")] == 0
    assert [key for key in before if key[0] == "anmei_retention_success_timestamp_seconds"] == []
    switched_on = {dict(key[1])["kind"]: days for key, days in before.items() if key[0] == "anmei_retention_days"}
    assert switched_on == {"agent_texts": 90, "mcp_payloads": 90, "notifications": 90, "step_inputs": 180}

    begun = time.time()
    journey = create_journey(status="succeeded", finished_at=utc_now() - timedelta(days=200))
    with core_database.unit_of_work() as session:
        session.execute(update(JourneyStep).where(JourneyStep.journey_id == journey.id).values(error_text="it broke"))
    assert retention.prune(automation.current().retention) == {"step_inputs": 3}
    after = page()
    assert after["anmei_retention_rows_total", labels(kind="step_inputs")] == 3
    for kind in switched_on:
        assert begun - 1 <= after["anmei_retention_success_timestamp_seconds", labels(kind=kind)] <= time.time() + 1
    assert ("anmei_retention_success_timestamp_seconds", labels(kind="messages")) not in after
