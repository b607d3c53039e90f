"""The metrics page: figures of the record by SQL, of the broker by asking it, of the process from itself."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from clients import broker
from core import log_events
from core.database import unit_of_work
from core.errors import AnmeiError
from core.logging import get_logger
from core.settings import MissingSettingError, get_settings
from queries import exemplars, figures_now
from queries import figures as queries
from queries import retention as retention_queries
from queries.figures import GREETING_TARGET_SECONDS
from services import automation, confirmations, heartbeats, mcp_figures, retention
from services.figures_catalog import Part
from services.figures_families import Figures
from services.journey_plan import Queue
from services.settings_admin import ALL_FAMILIES
from services.webhook_counts import FOLD_AFTER_SECONDS, KEEPER_ID, count_webhook, flush

__all__ = ["CONTENT_TYPE", "count_webhook", "flush", "forget", "negotiated", "render", "roll"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
# Several scrapers, and a person who looks, cost one collection a second.
CACHE_SECONDS = 1.0
ROLL_SECONDS = 10.0
ROLL_BATCH_ROWS = 20_000
# A scrape rolls up for at most this long; what is left is counted live this once, and rolled up by the next.
ROLL_BUDGET_SECONDS = 2.0
# Between a transaction's begin and PostgreSQL showing it lie microseconds; a stopped process may stretch them.
SLACK_SECONDS = 5.0
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# How late a greeting may be before it is called overdue: one round of whoever sends the templates.
OVERDUE_GRACE_SECONDS = 2.0

log = get_logger(__name__)


def render() -> bytes:
    """Return the page in Prometheus' text format; at most a second old. Never fails: a part that cannot be read is missing.

    Figures of the record are the same from every process: take one of them (`max`), never their sum.
    """
    return _page.current()


def negotiated(accept: str) -> tuple[bytes, str]:
    """Return the page in the form this Accept header asks for, and its content type: OpenMetrics, with exemplars, or text."""
    if OPENMETRICS in accept:
        return _page.current(openmetrics.generate_latest), openmetrics.CONTENT_TYPE_LATEST
    return _page.current(), CONTENT_TYPE


def forget() -> None:
    """Collect anew at the next `render`, however young the page is. For tests, which change the record behind its back."""
    _page.forget()


def roll(*, max_seconds: float = 60.0) -> int:
    """Bring the totals up to now and return how many rows were looked at; 0 when another process is at it.

    Each batch is a transaction of its own. Raises DatabaseUnavailableError.
    """
    deadline = time.monotonic() + max_seconds
    looked_at = 0
    for source in queries.SOURCES:
        more = True
        while more and time.monotonic() < deadline:
            counted, more = _roll_batch(source)
            looked_at += counted
    with unit_of_work() as session:
        if queries.try_lock_rolling(session):
            figures_now.fold_webhook_outcomes(session, KEEPER_ID, older_than_seconds=FOLD_AFTER_SECONDS)
    return looked_at


def _roll_batch(source: queries.Source) -> tuple[int, bool]:
    with unit_of_work() as session:
        if not queries.try_lock_rolling(session):
            return 0, False
        horizon = queries.get_horizon(session, slack_seconds=SLACK_SECONDS)
        since = queries.get_watermarks(session).get(source.name, BEGINNING)
        until = queries.find_batch_end(session, source, since=since, rows=ROLL_BATCH_ROWS, horizon=horizon)
        if until <= since:
            return 0, False
        return queries.roll_up(session, source, since=since, until=until), until < horizon


Writer = Callable[[CollectorRegistry], bytes]


class _Page:
    """The rendered page, collected by one thread at a time and kept for CACHE_SECONDS."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._families: list[Family] = []
        self._written: dict[Writer, bytes] = {}
        self._collected_at = float("-inf")
        self._process = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

    def current(self, write: Writer = generate_latest) -> bytes:
        with self._lock:
            if time.monotonic() - self._collected_at >= CACHE_SECONDS:
                self._families = [*_collect(), *self._process.collect()]
                self._written.clear()
                self._collected_at = time.monotonic()
            if write not in self._written:
                self._written[write] = write(_Once(self._families))
            return self._written[write]

    def forget(self) -> None:
        with self._lock:
            self._collected_at = float("-inf")


class _Once(CollectorRegistry):
    """A registry of families already collected."""

    def __init__(self, families: list[Family]) -> None:
        super().__init__(auto_describe=False)
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families


_page = _Page()


def _renew_page() -> None:
    global _page
    _page = _Page()


# A forked child must not inherit a lock another thread held.
os.register_at_fork(after_in_child=_renew_page)


def _collect() -> list[Family]:
    begun = time.perf_counter()
    page = Figures(Part.PAGE)
    families: list[Family] = []
    for part, read in _PARTS.items():
        try:
            families += read()
        except (AnmeiError, SQLAlchemyError, MissingSettingError, OSError) as error:
            log.warning(log_events.FIGURES_INCOMPLETE, part=part, error=_words(error))
            page.set("anmei_figures_up", 0, part)
        else:
            page.set("anmei_figures_up", 1, part)
    page.set("anmei_figures_collect_seconds", time.perf_counter() - begun)
    return families + page.families()


def _words(error: Exception) -> str:
    """Return what a log line may say: of a refusing database the first line, without the statement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return f"{type(error).__name__}: {cause}".splitlines()[0]


def _read_record() -> list[Family]:
    figures = Figures(Part.RECORD)
    _roll_if_due()
    with unit_of_work() as session:
        # One snapshot: what is rolled up between two of these statements would otherwise be missed or counted twice.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        for count in queries.list_totals(session) + queries.list_live(session, queries.get_watermarks(session)):
            figures.count(count)
        now = figures_now.get_now(session, target_seconds=GREETING_TARGET_SECONDS, grace_seconds=OVERDUE_GRACE_SECONDS)
        for status, number in figures_now.count_open_journeys(session).items():
            figures.set("registration_journeys_open", number, status)
        for outcome, number in figures_now.list_webhook_outcomes(session).items():
            figures.set("registration_webhook_requests_total", number, outcome)
        for agent, state in figures_now.list_circuits(session).items():
            figures.set("agent_circuit_state", state, agent)
        for example in exemplars.list_exemplars(session):
            figures.point_to(example)
        workers = figures_now.list_heartbeats(session, within_seconds=heartbeats.ALIVE_SECONDS)
        marks = retention_queries.list_marks(session)
    _add_now(figures, now)
    _add_retention(figures, marks)
    for name in ALL_FAMILIES:
        found = confirmations.processes(name)
        for standing in confirmations.State:
            figures.set("anmei_settings_processes", sum(one.state is standing for one in found.listed), name, standing)
    figures.set("celery_workers", len(workers))
    for queue in Queue:
        figures.set("celery_queue_consumers", sum(queue in worker.queues for worker in workers), queue)
    _add_mcp(figures)
    return figures.families()


def _roll_if_due() -> None:
    with unit_of_work() as session:
        rolled_seconds_ago = queries.find_rolled_seconds_ago(session)
    if rolled_seconds_ago is None or rolled_seconds_ago >= ROLL_SECONDS:
        roll(max_seconds=ROLL_BUDGET_SECONDS)


def _add_now(figures: Figures, now: figures_now.Now) -> None:
    # Both counters leave out the journeys of the last seconds, so that every greeting had its time when it is judged.
    accepted = figures.total("registration_journeys_accepted_total")
    in_time = figures.total("registration_greeting_latency_seconds", up_to=GREETING_TARGET_SECONDS)
    figures.set("registration_greetings_due_total", accepted - now.recent_accepted)
    figures.set("registration_greetings_in_time_total", in_time - now.recent_greeted)
    figures.set("registration_greetings_overdue", now.ungreeted_overdue)
    figures.set("registration_dead_letters_open", now.dead_letters_open)
    figures.set("registration_oldest_open_journey_seconds", now.oldest_open_journey_seconds)
    figures.set("consultants_connected", now.consultants_connected)
    figures.set("anmei_database_bytes", now.database_bytes)


def _add_retention(figures: Figures, marks: list[retention_queries.Mark]) -> None:
    for mark in marks:
        figures.set("anmei_retention_rows_total", mark.rows_pruned, mark.kind)
        if mark.caught_up_seconds is not None:
            figures.set("anmei_retention_success_timestamp_seconds", mark.caught_up_seconds, mark.kind)
    for kind, days in retention.days_by_kind(automation.current().retention).items():
        figures.set("anmei_retention_days", days, kind)


def _add_mcp(figures: Figures) -> None:
    collected = mcp_figures.collect()
    for call in collected.calls:
        figures.set("mcp_tool_calls_total", call.calls, call.tool, call.group, call.outcome)
    for one in collected.durations:
        figures.set_histogram("mcp_tool_call_duration_seconds", one.cumulated, one.sum_seconds, one.tool)


def _read_broker() -> list[Family]:
    figures = Figures(Part.BROKER)
    for queue, length in broker.queue_lengths(get_settings().require_broker_url(), list(Queue)).items():
        figures.set("celery_queue_length", length, queue)
    return figures.families()


def _read_disk() -> list[Family]:
    figures = Figures(Part.DISK)
    path = get_settings().data_dir.absolute()
    usage = shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists()))
    figures.set("anmei_disk_free_bytes", usage.free)
    figures.set("anmei_disk_size_bytes", usage.total)
    return figures.families()


_PARTS: dict[Part, Callable[[], list[Family]]] = {
    Part.RECORD: _read_record,
    Part.BROKER: _read_broker,
    Part.DISK: _read_disk,
}
