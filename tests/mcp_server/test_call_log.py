"""Every call is a row: masked, capped, in its month's partition, and none is lost."""

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from core.clock import utc_now
from core.errors import DatabaseUnavailableError
from core.ids import new_id
from core.settings import get_settings
from mcp_server import masking
from mcp_server.recorder import Call, CallRecorder
from models import CallOutcome, Journey
from queries.mcp_calls import CallFilter
from services import mcp_calls, mcp_figures, mcp_settings
from tests.mcp_server.support import Client, RunningServer, logged, rows
from tests.support.waiting import wait_until


def a_call(**fields: Any) -> Call:
    defaults: dict[str, Any] = {
        "created_at": utc_now(),
        "tool_name": "tool",
        "group_id": new_id(),
        "group_name": "group",
        "journey_id": None,
        "caller_app_id": None,
        "transport": "test",
        "protocol_version": None,
        "outcome": CallOutcome.OK,
        "duration_ms": 1.0,
        "arguments": {"a": 1},
        "response": "{}",
        "error_code": None,
        "error": None,
    }
    return Call(**(defaults | fields))


def test_a_call_is_logged_with_journey_caller_and_payloads_masked(agent: Client, journey: Journey) -> None:
    headers = {"x-caller-app-id": "app-1234567890"}
    params = {"name": "get_user_profile", "arguments": {"user_id": journey.handle, "include_details": True}}
    agent.rpc("tools/call", params, headers=headers)
    (row,) = logged(1)
    assert (row["tool_name"], row["group_name"], row["journey_id"]) == (
        "get_user_profile",
        "customer_tools",
        journey.id,
    )
    assert (row["outcome"], row["success"], row["transport"]) == ("ok", True, "streamable-http")
    assert row["request"] == {"user_id": f"{journey.handle[:8]}***", "include_details": True}
    for secret in ("小美", "mei@example.com", "13800001111", journey.handle, "https://a/b.png", "app-1234567890"):
        assert secret not in str(row)
    assert '"username":"小***"' in row["response"]
    assert 0 < row["duration_ms"] < 5000


def test_the_key_is_in_no_row_and_no_header_passed_on(agent: Client) -> None:
    agent.call_raw("get_user_profile", {"user_id": agent.headers["authorization"]})
    logged(1)
    key = agent.headers["authorization"].removeprefix("Bearer ")
    assert key not in str(rows("SELECT * FROM mcp_call_logs"))


def test_payloads_are_capped(agent: Client) -> None:
    mcp_settings.change({"log_payload_bytes": 100}, actor="test")
    wait_until(lambda: mcp_settings.current().log_payload_bytes == 100)
    agent.call_raw("get_user_profile", {"user_id": "x" * 5000})
    (row,) = logged(1)
    assert len(row["request"]["truncated"]) == 100
    assert len(row["response"].encode()) <= 100


def test_what_the_database_refuses_is_replaced(agent: Client) -> None:
    agent.call_raw("get_user_profile", {"user_id": "a\x00b", "x\x00": [2**80]})
    (row,) = logged(1)
    replaced = "\N{REPLACEMENT CHARACTER}"
    assert row["request"] == {"user_id": f"a{replaced}b", f"x{replaced}": [str(2**80)]}
    assert agent.rpc("tools/call", {"name": "\ud800"}).status_code == 400


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"phone":"+8613800001111","n":5}', '{"phone":"+***","n":5}'),
        ('{"username":"小美","text":"call 13800001111"}', '{"username":"小***","text":"c***"}'),
        ('{"email":"a@b.example', '{"email":"a***"'),
        ('{"name":"a\\"b@c.de","x":1}', '{"name":"a***","x":1}'),
        ('{"note":"', '{"note":"***"'),
        ('{"x":"write to me@home.example"}', '{"x":"write to ***"}'),
    ],
)
def test_responses_are_masked_even_where_they_are_cut(text: str, masked: str) -> None:
    assert masking.masked_response(text, 1000) == masked


def test_one_bad_row_takes_no_other_with_it(database: str) -> None:
    recorder = CallRecorder()
    for number in range(5):
        recorder.record(a_call(duration_ms=float(number)))
    # Something no check foresaw: a value PostgreSQL cannot take.
    recorder._waiting[2]["request"] = {"text": "a\x00b"}
    recorder.store_now()
    assert recorder.stored == 5
    assert rows("SELECT count(*), count(request) FROM mcp_call_logs") == [(5, 4)]


def test_rows_and_totals_are_written_once_however_often_a_batch_comes(database: str) -> None:
    recorder = CallRecorder()
    for _ in range(3):
        recorder.record(a_call())
    batch = list(recorder._waiting)
    assert [mcp_calls.store(batch), mcp_calls.store(batch)] == [3, 0]
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(3,)]
    assert rows("SELECT calls FROM mcp_call_totals") == [(3,)]


def away(_: Any) -> int:
    raise DatabaseUnavailableError("away")


def test_while_the_database_is_away_rows_wait_and_a_stop_keeps_them(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = mcp_calls.store
    monkeypatch.setattr("mcp_server.recorder.STOP_SECONDS", 0.1)
    monkeypatch.setattr(mcp_calls, "store", away)
    recorder = CallRecorder()
    recorder.start()
    for _ in range(10):
        recorder.record(a_call())
    recorder.stop()
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(0,)]
    # One file, or two: what the writer had in hand, and what came after.
    spilled = list(get_settings().data_dir.glob("mcp-call-log-*.jsonl"))
    assert sum(len(path.read_text().splitlines()) for path in spilled) == 10
    assert {path.stat().st_mode & 0o777 for path in spilled} == {0o600}

    monkeypatch.setattr(mcp_calls, "store", store)
    following = CallRecorder()
    following.start()
    wait_until(lambda: following.stored == 10)
    following.stop()
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(10,)]
    assert list(get_settings().data_dir.glob("mcp-call-log-*")) == []


def test_a_start_that_was_killed_in_the_middle_leaves_the_rows_to_the_next(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_settings().data_dir.mkdir(parents=True, exist_ok=True)
    early = CallRecorder()
    early.record(a_call())
    early.stop()
    store = mcp_calls.store

    def killed(rows: Any) -> int:
        store(rows)
        raise SystemExit

    monkeypatch.setattr(mcp_calls, "store", killed)
    with pytest.raises(SystemExit):
        CallRecorder()._restore()
    # The next start finds the database away, and puts them into a file of its own again.
    monkeypatch.setattr(mcp_calls, "store", away)
    monkeypatch.setattr("mcp_server.recorder.STOP_SECONDS", 0.0)
    CallRecorder()._restore()
    monkeypatch.setattr(mcp_calls, "store", store)
    following = CallRecorder()
    following.start()
    wait_until(lambda: list(get_settings().data_dir.glob("mcp-call-log-*")) == [])
    following.stop()
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(1,)]
    assert rows("SELECT sum(calls) FROM mcp_call_totals") == [(1,)]


def test_a_start_while_the_database_is_away_has_all_earlier_rows_on_the_disk_when_it_gives_up(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = CallRecorder()
    for _ in range(5):
        early.record(a_call())
    early.stop()

    with monkeypatch.context() as broken:
        broken.setattr(mcp_calls, "store", away)
        broken.setattr("mcp_server.recorder.BATCH_ROWS", 2)
        broken.setattr("mcp_server.recorder.STOP_SECONDS", 0.0)
        # Killed right after: nothing of what it holds in memory is written any more.
        CallRecorder()._restore()
    CallRecorder()._restore()
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(5,)]


def test_a_file_that_cannot_be_read_is_set_aside_and_stops_no_other(database: str) -> None:
    directory = get_settings().data_dir
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "mcp-call-log-0.jsonl").write_bytes(b'{"half')
    early = CallRecorder()
    early.record(a_call())
    early.stop()
    CallRecorder()._restore()
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(1,)]
    (left,) = directory.glob("mcp-call-log-*")
    assert left.name == "mcp-call-log-0.unreadable"
    left.unlink()


def test_many_threads_lose_no_row(database: str) -> None:
    recorder = CallRecorder()
    recorder.start()
    threads = [threading.Thread(target=lambda: [recorder.record(a_call()) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.stop()
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(2000,)]
    assert rows("SELECT sum(calls) FROM mcp_call_totals") == [(2000,)]


def test_months_are_partitions_made_ahead_and_dropped_whole(database: str) -> None:
    long_ago = datetime(2025, 3, 15, tzinfo=UTC)
    recorder = CallRecorder()
    recorder.record(a_call(created_at=long_ago))
    recorder.record(a_call())
    recorder.store_now()
    # The old row waited in the default partition and moves into its month's.
    mcp_calls.maintain(today=date(2025, 3, 20))
    assert rows("SELECT count(*) FROM mcp_call_logs_2025_03") == [(1,)]
    mcp_calls.maintain()
    mcp_calls.maintain()
    partitions = [row[0] for row in rows("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")]
    assert "mcp_call_logs_2025_03" not in partitions
    today = utc_now().date()
    for days in (0, 31, 62):
        month = (today.replace(day=1) + timedelta(days=days)).strftime("%Y_%m")
        assert any(name.endswith(month) for name in partitions) or days == 62
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(1,)]
    assert rows("SELECT sum(calls) FROM mcp_call_totals") == [(2,)]


def test_statistics_and_figures_agree_with_the_rows(agent: Client, server: RunningServer, journey: Journey) -> None:
    for _ in range(3):
        agent.call("get_user_profile", user_id=journey.handle)
    agent.refused("get_user_profile", user_id="nobody")
    agent.call_raw("invented-by-a-stranger-1")
    agent.call_raw("invented-by-a-stranger-2")
    logged(6)
    stats = {one["tool_name"]: one for one in mcp_calls.statistics(CallFilter())}
    assert (stats["get_user_profile"]["calls"], stats["get_user_profile"]["errors"]) == (4, 1)
    assert stats["get_user_profile"]["p50_ms"] <= stats["get_user_profile"]["p95_ms"]
    assert stats["unknown"]["calls"] == 2
    figures = mcp_figures.collect()
    assert {(one.tool, one.group, one.outcome): one.calls for one in figures.calls} == {
        ("get_user_profile", "customer_tools", "ok"): 3,
        ("get_user_profile", "customer_tools", "error"): 1,
        ("unknown", "customer_tools", "unknown_tool"): 2,
    }
    assert {one.tool: one.cumulated[-1][1] for one in figures.durations} == {"get_user_profile": 4, "unknown": 2}
    page = agent.http.get("/metrics").text
    assert 'mcp_tool_calls_total{group="customer_tools",outcome="ok",tool="get_user_profile"} 3.0' in page
    assert "stranger" not in page


def test_a_key_knows_when_it_was_last_used(agent: Client) -> None:
    before = utc_now()
    agent.call_raw("get_business_metrics")
    logged(1)
    used = rows("SELECT key_last_used_at FROM mcp_tool_groups WHERE name = 'customer_tools'")[0][0]
    assert before <= used <= utc_now()
    assert rows("SELECT key_last_used_at FROM mcp_tool_groups WHERE name = 'project_tools'") == [(None,)]


def test_a_lone_call_is_stored_at_once_and_those_that_follow_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.recorder.INTERVAL_SECONDS", 60.0)
    recorder = CallRecorder()
    recorder.start()
    recorder.record(a_call())
    wait_until(lambda: len(logged(1)) == 1, timeout_seconds=5)
    # The writer is back at its waiting before the others come.
    wait_until(lambda: recorder.stored == 1)
    for _ in range(3):
        recorder.record(a_call())
    assert recorder.stored == 1
    recorder.stop()
    assert (recorder.stored, len(logged(4))) == (4, 4)


def test_the_newest_page_of_the_log_is_read_from_an_index() -> None:
    mcp_calls.maintain()
    recorder = CallRecorder()
    for _ in range(50):
        recorder.record(a_call())
    recorder.store_now()
    with psycopg.connect(get_settings().require_database_url()) as connection:
        # The rows of a test fit on one page, which reading whole is cheapest for.
        connection.execute("SET enable_seqscan = off")
        newest = "SELECT * FROM mcp_call_logs ORDER BY created_at DESC, id DESC LIMIT 20"
        plan = str(connection.execute(f"EXPLAIN {newest}").fetchall())
    assert "->  Sort" not in plan
    assert "created_at_id_idx" in plan
