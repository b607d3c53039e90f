"""OpenMetrics where it is asked for: the same figures, and in each bucket a journey to look at."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import psycopg
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from core.clock import utc_now
from models import Journey
from services import figures
from tests.support.factories import create_agent, create_journey
from worker import metrics_server

GREETING = "registration_greeting_latency_seconds"
PROMETHEUS_ASKS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"


@pytest.fixture
def server() -> Iterator[metrics_server.MetricsServer]:
    server = metrics_server.serve(0, "127.0.0.1")
    yield server
    server.close()


def greeted_after(seconds: float, *, minutes_ago: float = 1) -> Journey:
    accepted_at = utc_now() - timedelta(minutes=minutes_ago)
    greeted_at = accepted_at + timedelta(seconds=seconds)
    return create_journey(accepted_at=accepted_at, conversation_at=accepted_at, greeted_at=greeted_at)


def exemplars(name: str) -> dict[str, tuple[str, float]]:
    """Trace and value by bucket, as a scraper reads them."""
    page, content_type = figures.negotiated(PROMETHEUS_ASKS)
    assert content_type.startswith("application/openmetrics-text")
    return {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in parse_openmetrics(page.decode())
        for sample in family.samples
        if sample.name == f"{name}_bucket" and sample.exemplar is not None
    }


def test_each_bucket_points_to_its_newest_journey() -> None:
    greeted_after(0.2, minutes_ago=2)
    newest, slow, slowest = greeted_after(0.2), greeted_after(4.0), greeted_after(2000.0, minutes_ago=10)
    assert exemplars(GREETING) == {
        "0.25": (newest.id.hex, pytest.approx(0.2)),
        "5.0": (slow.id.hex, pytest.approx(4.0)),
        "+Inf": (slowest.id.hex, pytest.approx(2000.0)),
    }


def test_what_is_long_ago_is_no_exemplar() -> None:
    greeted_after(0.2, minutes_ago=20)
    assert exemplars(GREETING) == {}


def test_a_call_of_an_agent_points_to_the_journey_it_was_for(database: str) -> None:
    agent, journey = create_agent(name="welcome"), create_journey()
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO agent_calls (id, journey_id, attempt, agent_id, status, started_at, finished_at) VALUES"
            " (gen_random_uuid(), %s, 1, %s, 'succeeded', now() - interval '1.2 s', now())",
            (journey.id, agent.id),
        )
    assert exemplars("agent_call_duration_seconds") == {"1.5": (journey.id.hex, pytest.approx(1.2))}


def test_both_forms_say_the_same() -> None:
    greeted_after(0.2)
    text = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(figures.render().decode())
        for sample in family.samples
    }
    page, _ = figures.negotiated(PROMETHEUS_ASKS)
    asked = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_openmetrics(page.decode())
        for sample in family.samples
    }
    assert asked == text
    assert page.endswith(b"# EOF\n")


def test_who_asks_for_nothing_gets_plain_text(server: metrics_server.MetricsServer) -> None:
    url = f"http://127.0.0.1:{server.port}/metrics"
    plain = httpx.get(url, trust_env=False)
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# EOF" not in plain.text
    assert "trace_id" not in plain.text
    asked = httpx.get(url, headers={"accept": PROMETHEUS_ASKS}, trust_env=False)
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.headers["vary"] == "Accept"
