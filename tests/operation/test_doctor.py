"""Broken set-ups, each found by `anmei doctor` and explained, and nothing else called broken."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
import redis

from core.clock import utc_now
from core.settings import get_settings
from services import heartbeats
from services.journey_plan import Queue
from tests.support.factories import create_agent, create_journey
from tests.support.processes import OwnProcess
from tests.support.waiting import wait_until
from worker.app import app
from worker.doctor import Finding, Verdict, examine

ALL_QUEUES = [queue.value for queue in Queue]
FAKETIME = shutil.which("faketime") or ""
needs_faketime = pytest.mark.skipif(not FAKETIME, reason="faketime is not installed (Debian: faketime)")
NO_WORKER = {f"worker {queue}" for queue in ALL_QUEUES}


def look() -> dict[str, Finding]:
    """What is wrong, in this process."""
    return {finding.check: finding for finding in examine() if finding.verdict is Verdict.WRONG}


def look_from_outside(*before: str, **environment: object) -> dict[str, Finding]:
    """What a `doctor` of its own process says is wrong."""
    doctor = OwnProcess(["-m", "worker.cli", "doctor", "--json"], environment)
    doctor.arguments = [*before, *doctor.arguments]
    with doctor:
        code = doctor.wait()
        found = json.loads(doctor.output)
    wrong = {one["check"]: Finding(**one) for one in found["findings"] if one["verdict"] == "wrong"}
    assert (code, found["healthy"]) == ((1, False) if wrong else (0, True))
    return wrong


@contextmanager
def set_in(environment: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ |= environment
    get_settings.cache_clear()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        get_settings.cache_clear()


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


class Told(NamedTuple):
    """What must be said: the check, words of the finding, words of the remedy."""

    check: str
    detail: str
    remedy: str

    def by(self, findings: dict[str, Finding]) -> None:
        finding = findings[self.check]
        assert self.detail in finding.detail
        assert self.remedy in finding.remedy


def test_settings_that_cannot_be_read() -> None:
    wrong = look_from_outside(ANMEI_API_PORT="eight thousand")
    assert set(wrong) == {"settings"}
    Told("settings", "ANMEI_API_PORT", "mend or unset ANMEI_API_PORT").by(wrong)


def test_a_database_url_that_leads_nowhere(database: str) -> None:
    with set_in({"ANMEI_DATABASE_URL": database.replace("/anmei", "/elsewhere", 1)}):
        wrong = look()
    assert set(wrong) == {"database"}
    Told("database", "does not exist", "ANMEI_DATABASE_URL").by(wrong)


def test_a_database_that_is_away() -> None:
    with set_in({"ANMEI_DATABASE_URL": "postgresql://anmei@127.0.0.1:9/anmei"}):
        wrong = look()
    assert set(wrong) == {"database"}
    Told("database", "127.0.0.1", "start PostgreSQL").by(wrong)


def test_an_old_schema(connection: psycopg.Connection) -> None:
    (head,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    connection.execute("UPDATE alembic_version SET version_num = '0005'")
    try:
        wrong = look()
    finally:
        connection.execute("UPDATE alembic_version SET version_num = %s", (head,))
    assert set(wrong) == {"migrations"}
    Told("migrations", "at 0005", "anmei migrate").by(wrong)


def test_a_broker_that_is_away() -> None:
    wrong = look_from_outside(ANMEI_BROKER_URL="redis://127.0.0.1:9/0")
    assert set(wrong) == {"broker", "redis"}
    Told("broker", "refused", "ANMEI_BROKER_URL").by(wrong)


def test_a_broker_url_with_an_option_nobody_knows(broker_url: str, redis_url: str) -> None:
    wrong = look_from_outside(ANMEI_BROKER_URL=f"{broker_url}?visibility_timeout=5", ANMEI_REDIS_URL=redis_url)
    assert set(wrong) == {"broker"}
    Told("broker", "visibility_timeout", "ANMEI_BROKER_URL").by(wrong)


def test_messages_that_come_back_while_their_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.conf.broker_transport_options, "visibility_timeout", 30)
    wrong = look()
    assert set(wrong) == {"redelivery", *NO_WORKER}
    Told("redelivery", "after 30 s", "visibility_timeout").by(wrong)


def test_a_redis_that_may_forget(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            wrong = look()
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert set(wrong) == {"redis", *NO_WORKER}
    Told("redis", "allkeys-lru", "noeviction").by(wrong)


def test_no_worker() -> None:
    wrong = look()
    assert set(wrong) == NO_WORKER
    Told("worker agents", "no worker", "anmei worker --queues agents").by(wrong)


def test_a_worker_that_is_alive_elsewhere_but_not_on_this_broker() -> None:
    heartbeats.beat("w1", role="worker", queues=ALL_QUEUES)
    wrong = look()
    assert set(wrong) == NO_WORKER
    Told("worker journeys", "1 alive, but none consumes", f"pid {os.getpid()}").by(wrong)


def test_a_worker_that_is_deaf_to_one_queue() -> None:
    with OwnProcess(["-m", "worker.cli", "worker", "--concurrency", "2", "--announce"]) as worker:
        worker.wait_for_output("ready")
        wait_until(heartbeats.list_alive)
        wait_until(lambda: look() == {}, timeout_seconds=10, poll_seconds=0.1)
        app.control.cancel_consumer("agents", reply=True, timeout=2)
        app.send_task("journey.generate_welcome", kwargs={"journey_ids": []}, queue="agents")
        wrong = look()
        assert set(wrong) == {"worker agents"}
        Told("worker agents", "none consumes this queue", f"pid {worker.pid}").by(wrong)


def test_a_worker_that_hangs() -> None:
    with OwnProcess(["-m", "worker.cli", "worker", "--concurrency", "2", "--announce"]) as worker:
        worker.wait_for_output("ready")
        wait_until(heartbeats.list_alive)
        worker.send(signal.SIGSTOP)
        wrong = look()
        worker.send(signal.SIGCONT)
    assert set(wrong) == NO_WORKER
    Told("worker notifications", "1 alive, but none consumes", f"restart pid {worker.pid}").by(wrong)


def test_messages_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.doctor.work.CONSUME_SECONDS", 0.5)
    # Somebody says that they consume, and takes nothing: as a worker does whose threads are all busy.
    answer = {"w1": [{"name": queue} for queue in ALL_QUEUES]}
    monkeypatch.setattr(app.control, "inspect", lambda **_: type("I", (), {"active_queues": lambda self: answer})())
    heartbeats.beat("w1", role="worker", queues=ALL_QUEUES)
    for _ in range(3):
        app.send_task("journey.generate_welcome", kwargs={"journey_ids": []}, queue="agents")
    wrong = look()
    assert set(wrong) == {"worker agents"}
    Told("worker agents", "3 messages wait", "--concurrency").by(wrong)


@needs_faketime
def test_a_clock_that_is_an_hour_off() -> None:
    wrong = look_from_outside(FAKETIME, "-f", "+1h")
    assert set(wrong) == {"clock", *NO_WORKER}
    Told("clock", "is 3600.", "NTP").by(wrong)
    assert "ahead of the database" in wrong["clock"].detail


@needs_faketime
def test_a_worker_whose_clock_is_off() -> None:
    worker = OwnProcess(["-m", "worker.cli", "worker", "--concurrency", "2", "--announce"])
    worker.arguments = [FAKETIME, "-f", "-30s", *worker.arguments]
    with worker:
        worker.wait_for_output("ready")
        (alive,) = wait_until(heartbeats.list_alive)
        wrong = look()
    assert set(wrong) == {f"clock {alive.id}"}
    Told(f"clock {alive.id}", " s behind the database", "NTP").by(wrong)
    assert alive.clock_ahead_seconds == pytest.approx(-30, abs=0.9)


def test_another_encryption_key() -> None:
    create_agent()
    wrong = look_from_outside(ANMEI_SECRET_KEY="another key")
    assert set(wrong) == {"secrets", *NO_WORKER}
    Told("secrets", "agents.api_key_encrypted", "ANMEI_SECRET_KEY").by(wrong)


def test_an_agent_that_cannot_be_reached() -> None:
    create_agent(name="welcome")
    wrong = look()
    assert set(wrong) == {"agent welcome", *NO_WORKER}
    Told("agent welcome", "", "check its address and key").by(wrong)


def test_a_disk_that_is_almost_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, (1 << 40) - (9 << 20), 9 << 20)
    )
    wrong = look()
    assert set(wrong) == {"disk", *NO_WORKER}
    Told("disk", "9 MiB free", "free some space").by(wrong)


def test_a_data_directory_nothing_can_be_written_to() -> None:
    # As on a full disk: the file can be made, its content has no room.
    limited = 'set -o pipefail; (ulimit -f 0; exec "$@") | cat'
    wrong = look_from_outside("/bin/bash", "-c", limited, "bash")
    assert "data directory" in wrong
    Told("data directory", "File too large", "ANMEI_DATA_DIR").by(wrong)


def test_an_entry_taken_out_of_the_audit(connection: psycopg.Connection) -> None:
    from core.database import unit_of_work
    from services import audit

    for number in range(4):
        with unit_of_work() as session:
            audit.record(session, actor="test", action=f"test.{number}", subject="x")
    assert set(look()) == NO_WORKER
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("DELETE FROM audit_log WHERE action = 'test.1'")
    wrong = look()
    assert set(wrong) == {"audit", *NO_WORKER}
    Told("audit", "one before it removed", "backup").by(wrong)


def test_journeys_that_do_not_move() -> None:
    hour_ago = utc_now() - timedelta(hours=1)
    create_journey(accepted_at=hour_ago, greet_by_at=hour_ago)
    wrong = look()
    assert set(wrong) == {"queue age", "greetings", *NO_WORKER}
    Told("queue age", "60 minutes old", "OldestJourneyTooOld").by(wrong)
    Told("greetings", "1 are overdue", "anmei beat").by(wrong)


def test_agents_that_never_call_our_tools_are_told_of(connection: psycopg.Connection) -> None:
    agent, journey = create_agent(), create_journey()
    for _ in range(5):
        connection.execute(
            "INSERT INTO agent_calls (id, journey_id, attempt, agent_id, status, finished_at)"
            " VALUES (gen_random_uuid(), %s, 1, %s, 'succeeded', now())",
            (journey.id, agent.id),
        )
    (finding,) = [one for one in examine() if one.check == "tools"]
    assert (finding.verdict, finding.detail) == (
        Verdict.NOTE,
        "agents answered 5 times within a day and never called our tools",
    )
    assert "client-config" in finding.remedy


def test_every_finding_that_is_wrong_names_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    create_agent()
    everything: list[Any] = list(look().values())
    assert [finding for finding in everything if not finding.remedy] == []
