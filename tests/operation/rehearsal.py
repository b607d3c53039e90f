"""A rehearsal of the worst hour: load, workers killed, a backup taken meanwhile, every counter compared, all of it restored.

`python -m tests.operation.rehearsal -n 1000` prints what was counted; the tests run it with fewer.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from bench.processes import answers
from tests.faults.brokers import RedisBroker
from tests.faults.load import Sent, send
from tests.faults.stack import Stack
from tests.support.waiting import START_SECONDS, wait_until
from worker.embedded import postgres as embedded_postgres

KILLED = ("worker", "agents", "beat1", "worker", "beat2", "agents")
OPEN = "SELECT count(*) FROM journeys WHERE status IN ('accepted', 'running')"
UNSENT = "SELECT count(*) FROM notifications WHERE status = 'pending'"
TABLES = """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relpersistence = 'p'
    ORDER BY relname"""

# Each counter that promises to be right, straight from the rows, without anything the metrics page uses: name, labels, value.
COUNTERS = """
SELECT 'registration_journeys_accepted_total' AS name, '{}'::jsonb AS labels, count(*)::float AS value
    FROM journeys WHERE status <> 'skipped'
UNION ALL SELECT 'registration_journeys_total', jsonb_build_object('outcome', status), count(*)
    FROM journeys WHERE status IN ('succeeded', 'skipped', 'cancelled') GROUP BY status
UNION ALL SELECT 'registration_journeys_total', '{"outcome": "failed"}', count(DISTINCT journey_id) FROM dead_letters
UNION ALL SELECT 'registration_dead_letters_total', jsonb_build_object('step', step), count(*) FROM dead_letters GROUP BY step
UNION ALL SELECT 'registration_step_attempts_total', jsonb_build_object('step', step, 'outcome', outcome), count(*)
    FROM step_attempts WHERE outcome <> 'running' GROUP BY step, outcome
UNION ALL SELECT 'registration_step_duration_seconds_count', jsonb_build_object('step', step), count(*)
    FROM step_attempts WHERE outcome IN ('succeeded', 'failed') GROUP BY step
UNION ALL SELECT 'registration_conversation_latency_seconds_count', '{}', count(conversation_at) FROM journeys
UNION ALL SELECT 'registration_greeting_latency_seconds_count', '{}', count(greeted_at) FROM journeys
UNION ALL SELECT 'registration_greeting_latency_seconds_bucket', '{"le": "3.0"}', count(*)
    FROM journeys WHERE greeted_at <= accepted_at + interval '3 s'
UNION ALL SELECT 'registration_welcome_latency_seconds_count', jsonb_build_object('source', source), count(*)
    FROM messages WHERE source IS NOT NULL GROUP BY source
UNION ALL SELECT 'agent_calls_total', jsonb_build_object('agent', a.name, 'version', '0', 'outcome', c.status), count(*)
    FROM agent_calls c JOIN agents a ON a.id = c.agent_id WHERE c.status <> 'running' AND c.version_id IS NULL GROUP BY 2
UNION ALL SELECT 'consultant_notifications_total', jsonb_build_object('channel', channel, 'outcome', status), count(*)
    FROM notifications WHERE status IN ('sent', 'failed') GROUP BY channel, status
"""


@dataclass
class Rehearsed:
    """What was seen. `differing` names each counter that was not the database's: metric, page's value, database's value."""

    accepted: int = 0
    kills: int = 0
    attempts_lost: int = 0
    counters: int = 0
    pages: int = 0
    differing: list[str] = field(default_factory=list)
    dump_seconds: float = 0.0
    dump_bytes: int = 0
    restore_seconds: float = 0.0
    tables: int = 0
    rows: int = 0
    tables_differing: list[str] = field(default_factory=list)
    under_way_in_dump: int = 0
    journeys_in_dump: int = 0
    resumed_seconds: float = 0.0
    after_restore: dict[str, int] = field(default_factory=dict)


class Restored(Stack):
    """A stack in an empty place, on a dump of another one: a new cluster, an empty broker, new processes."""

    def __init__(self, dump: Path, before: Stack) -> None:
        super().__init__(lambda folder: RedisBroker(folder / "broker", durable=False))
        self._dump, self._before = dump, before
        self.restore_seconds = 0.0

    def _start(self) -> None:
        self.start_postgres()
        embedded_postgres.create_database(self._postgres)
        self.broker.start()
        # Agents and push channels are rows, with their addresses.
        self.agent_port, self.push_port, self.api_port = (
            self._before.agent_port,
            self._before.push_port,
            self._before.api_port,
        )
        began = time.monotonic()
        _run("pg_restore", "--exit-on-error", "--no-owner", "--dbname", self.database_url, str(self._dump))
        self.restore_seconds = time.monotonic() - began

    def run_roles(self) -> None:
        self.supervisor.start(self._roles())
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        wait_until(lambda: answers(f"{self.api_url}/readyz"), timeout_seconds=START_SECONDS, poll_seconds=0.1)


def rehearse(*, count: int, per_second: float, kill_every_seconds: float) -> Rehearsed:
    """Run it all; kills go round the roles of KILLED for as long as the load lasts, each ending one of them at least once."""
    seen = Rehearsed()
    with Stack(lambda folder: RedisBroker(folder / "broker", durable=False)) as stack:
        dump = stack.folder / "anmei.dump"
        with ThreadPoolExecutor(2) as pool:
            load = pool.submit(send, stack.api_url, stack.webhook_secret, count=count, per_second=per_second)
            backup = pool.submit(_back_up_half_way, stack, dump, count)
            _kill_until(load.done, stack, seen, kill_every_seconds)
            sent: Sent = load.result()
            counts = backup.result()
        seen.accepted = len(sent.journeys)
        wait_until(lambda: stack.scalar(OPEN) == 0 and stack.scalar(UNSENT) == 0, timeout_seconds=120, poll_seconds=0.2)
        seen.attempts_lost = int(str(stack.scalar("SELECT count(*) FROM step_attempts WHERE outcome = 'lost'")))
        _compare_pages(stack, seen)
        seen.dump_seconds, seen.dump_bytes = counts.seconds, dump.stat().st_size
        stack.supervisor.stop()
        _restore(stack, dump, counts.rows, seen)
    return seen


@dataclass
class Dumped:
    seconds: float
    rows: dict[str, int]


def _back_up_half_way(stack: Stack, dump: Path, count: int) -> Dumped:
    """Dump the snapshot of a transaction that also counts every table: the same moment for both, whatever goes on."""
    # Not when half are through, but while many are under way.
    wait_until(lambda: int(str(stack.scalar("SELECT count(*) FROM journeys"))) >= count // 2, timeout_seconds=120)
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        (snapshot,) = connection.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
        began = time.monotonic()
        _run("pg_dump", "--format", "custom", "--snapshot", snapshot, "--file", str(dump), stack.database_url)
        return Dumped(time.monotonic() - began, _rows_of(connection))


def _kill_until(done: object, stack: Stack, seen: Rehearsed, every_seconds: float) -> None:
    assert callable(done)
    while not done() or seen.kills < 2:
        next_at = time.monotonic() + every_seconds
        wait_until(lambda next_at=next_at: time.monotonic() >= next_at, timeout_seconds=every_seconds + 5)
        stack.supervisor.roles[KILLED[seen.kills % len(KILLED)]].kill_all()
        seen.kills += 1


def _compare_pages(stack: Stack, seen: Rehearsed) -> None:
    with psycopg.connect(stack.database_url) as connection:
        expected = {
            (name, tuple(sorted(labels.items()))): value
            for name, labels, value in connection.execute(COUNTERS).fetchall()
        }
    # Whoever asks for the webhook gets what was answered: no API process was killed here.
    expected["registration_webhook_requests_total", (("outcome", "accepted"),)] = float(seen.accepted)
    seen.counters = len(expected)
    beats = [stack.supervisor.roles[name].environment["ANMEI_METRICS_PORT"] for name in ("beat1", "beat2")]
    for url in (f"{stack.api_url}/metrics", *(f"http://127.0.0.1:{port}/metrics" for port in beats)):
        # The webhook's processes write what they counted within a second; a page is at most one second old.
        with contextlib.suppress(AssertionError):
            wait_until(lambda url=url: not _differing(url, expected), timeout_seconds=10, poll_seconds=0.3)
        seen.differing += _differing(url, expected)
        seen.pages += 1


def _differing(url: str, expected: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> list[str]:
    try:
        page = httpx.get(url, timeout=10, trust_env=False).text
    except httpx.HTTPError as error:
        return [f"{url}: {error!r}"]
    shown = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    promised = {name for name, _ in expected if not name.endswith("_bucket")}
    differing = [
        f"{name}{dict(labels)}: {shown.get((name, labels))} on the page, {value} in the database"
        for (name, labels), value in expected.items()
        if shown.get((name, labels), 0) != value
    ]
    # What the page counts and the database does not have.
    differing += [
        f"{name}{dict(labels)}: {value} on the page, nothing in the database"
        for (name, labels), value in shown.items()
        if name in promised and value and (name, labels) not in expected
    ]
    return differing


def _restore(before: Stack, dump: Path, rows: dict[str, int], seen: Rehearsed) -> None:
    with Restored(dump, before) as stack:
        seen.restore_seconds = stack.restore_seconds
        with psycopg.connect(stack.database_url) as connection:
            restored = _rows_of(connection)
        seen.tables, seen.rows = len(restored), sum(restored.values())
        seen.tables_differing = [
            f"{table}: {rows.get(table)} dumped, {restored.get(table)} restored"
            for table in sorted(rows.keys() | restored.keys())
            if rows.get(table) != restored.get(table)
        ]
        seen.under_way_in_dump = int(str(stack.scalar(OPEN)))
        seen.journeys_in_dump = restored["journeys"]
        began = time.monotonic()
        stack.run_roles()
        wait_until(lambda: stack.scalar(OPEN) == 0 and stack.scalar(UNSENT) == 0, timeout_seconds=120, poll_seconds=0.2)
        seen.resumed_seconds = time.monotonic() - began
        for name, sql in {
            "succeeded": "SELECT count(*) FROM journeys WHERE status = 'succeeded'",
            "conversations": "SELECT count(*) FROM conversations",
            "greeted": "SELECT count(DISTINCT journey_id) FROM messages",
            "doubled": """SELECT count(*) FROM (SELECT FROM messages WHERE source IS NOT NULL GROUP BY journey_id, source
                HAVING count(*) > 1) AS twice""",
            "notifications": "SELECT count(*) FROM notifications WHERE status = 'sent'",
        }.items():
            seen.after_restore[name] = int(str(stack.scalar(sql)))


def _rows_of(connection: psycopg.Connection) -> dict[str, int]:
    names = [str(name) for (name,) in connection.execute(TABLES).fetchall()]
    counts = {}
    for name in names:
        (counts[name],) = connection.execute(f"SELECT count(*) FROM {name}").fetchone() or (0,)
    return counts


def _run(program: str, *arguments: str) -> None:
    command = [str(embedded_postgres.binaries() / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program}: {done.stderr[-2000:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--per-second", type=float, default=40)
    parser.add_argument("--kill-every-seconds", type=float, default=3.0)
    options = parser.parse_args()
    seen = rehearse(count=options.n, per_second=options.per_second, kill_every_seconds=options.kill_every_seconds)
    for name, value in vars(seen).items():
        print(f"{name:20} {value}")
    return 1 if seen.differing or seen.tables_differing else 0


if __name__ == "__main__":
    sys.exit(main())
