"""Time, rate, size, arguments and outputs: every limit holds, says so usefully, and stops what it limits."""

import time
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from mcp_server import outputs
from mcp_server.limits import RateLimiter
from services import mcp_settings, mcp_tools, tool_schemas
from services.mcp_tools import ToolChange
from tests.mcp_server import probes
from tests.mcp_server.support import Client, RunningServer, logged, rows, running
from tests.support.waiting import wait_until


@pytest.fixture
def server() -> Iterator[RunningServer]:
    probes.offer_probes()
    probes.events.clear()
    with running(probes.EVERYTHING) as started:
        yield started


@pytest.fixture
def probe(server: RunningServer) -> Client:
    return server.client(probes.GROUP)


def change(name: str, **fields: object) -> None:
    row = next(tool for tool in mcp_tools.list_tools() if tool.tool_name == name)
    mcp_tools.change(row.id, ToolChange.model_validate(fields), actor="test")


def timeout_of(server: RunningServer, name: str) -> float:
    catalogue = server.mcp.catalogue
    assert catalogue is not None
    return next(view.tools[name].entry.timeout_seconds for view in catalogue.groups.values() if name in view.tools)


def set_timeout(server: RunningServer, name: str, seconds: float) -> None:
    change(name, timeout_seconds=seconds)
    wait_until(lambda: timeout_of(server, name) == seconds)


def test_a_statement_is_cancelled_on_the_server_and_nothing_is_written(server: RunningServer, probe: Client) -> None:
    set_timeout(server, "sleep_in_the_database", 0.3)
    started = time.monotonic()
    answer = probe.refused("sleep_in_the_database", seconds=20)
    assert time.monotonic() - started < 2
    assert answer["error_code"] == "TOOL_TIMEOUT"
    wait_until(lambda: probes.events)
    running_now = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    wait_until(lambda: rows(running_now) == [(0,)])
    assert rows("SELECT count(*) FROM audit_log WHERE actor = 'probe'") == [(0,)]
    assert [row["outcome"] for row in logged(1)] == ["timeout"]


def test_no_further_statement_begins_after_the_time_is_up(server: RunningServer, probe: Client) -> None:
    set_timeout(server, "many_short_statements", 0.2)
    assert probe.refused("many_short_statements", seconds=3)["error_code"] == "TOOL_TIMEOUT"
    set_timeout(server, "sleep_in_the_database", 5)
    assert probe.call("sleep_in_the_database", seconds=0.01) == {"slept": 0.01}
    assert "went on to the end" not in probes.events


def test_an_async_tool_is_cancelled_where_it_waits(server: RunningServer, probe: Client) -> None:
    set_timeout(server, "wait_asynchronously", 0.2)
    assert probe.refused("wait_asynchronously", seconds=20)["error_code"] == "TOOL_TIMEOUT"
    assert probes.events == ["cancelled"]


def test_within_its_time_a_tool_finishes(probe: Client) -> None:
    assert probe.call("sleep_in_the_database", seconds=0.05) == {"slept": 0.05}
    assert rows("SELECT count(*) FROM audit_log WHERE actor = 'probe'") == [(1,)]


def test_an_unforeseen_error_tells_nothing_outside_and_its_kind_inside(probe: Client) -> None:
    answer = probe.refused("fail")
    assert answer == {"error": "the tool failed; the operators can see why", "error_code": "INTERNAL_ERROR"}
    assert [(row["outcome"], row["error"]) for row in logged(1)] == [("error", "RuntimeError")]
    assert "hunter2" not in str(rows("SELECT * FROM mcp_call_logs"))


def test_a_foreseen_error_keeps_its_code(probe: Client) -> None:
    assert probe.refused("fail", kind="transient") == {"error": "come back later", "error_code": "LATER"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "user_id: required"),
        ({"user_id": ""}, "user_id: String should have at least 1 character"),
        ({"user_id": "jrn_x", "days": 3}, "days: unknown argument; known arguments: user_id, include_details"),
        ({"user_id": 5}, "user_id: Input should be a valid string"),
        ({"user_id": "x", "include_details": "perhaps"}, "include_details: Input should be a valid boolean"),
    ],
)
def test_wrong_arguments_are_named(server: RunningServer, arguments: dict[str, object], said: str) -> None:
    answer = server.client("customer_tools").refused("get_user_profile", **arguments)
    assert answer["error_code"] == "INVALID_ARGUMENTS"
    assert said in answer["error"]
    assert [row["outcome"] for row in logged(1)] == ["invalid_arguments"]


def test_calls_beyond_the_rate_are_refused_per_key_and_tool(server: RunningServer, probe: Client) -> None:
    change("say", config_data={"calls_per_minute": 3})

    def limit() -> object:
        catalogue = server.mcp.catalogue
        assert catalogue is not None
        return next(v.tools["say"].entry.config for v in catalogue.groups.values() if "say" in v.tools)

    wait_until(limit)
    with running(probes.EVERYTHING) as second:
        clients = [probe, second.client(probes.GROUP)]
        results = [clients[number % 2].call_raw("say", {"text": "x"})["result"]["isError"] for number in range(8)]
    # A new minute may begin in between: never more than the limit in either.
    assert 3 <= results.count(False) <= 6
    assert results.count(True) >= 2
    assert probe.call_raw("fail", {"kind": "transient"})["result"]["isError"] is True
    refused = [row for row in logged(9) if row["outcome"] == "rate_limited"]
    assert len(refused) == results.count(True)


def test_without_redis_each_process_counts_for_itself(database: str) -> None:
    import asyncio

    async def take() -> list[bool]:
        limiter = RateLimiter("redis://127.0.0.1:1/0")
        verdicts = [(await limiter.take("key", "tool", 2)).allowed for _ in range(4)]
        await limiter.close()
        return verdicts

    assert asyncio.run(take()).count(True) in (2, 3, 4)


def test_what_acts_on_a_terminal_or_a_reader_is_taken_out(probe: Client) -> None:
    said = probe.call("say", text="a\x1b[31mb\x00c\u202ed\u2066e\U000e0041f\u0007g\n小美")["said"]
    assert said == "a[31mbcdefg\n小美"


def test_an_answer_beyond_the_limit_is_an_error_not_cut_json(probe: Client) -> None:
    answer = probe.refused("say", text="x" * 1000, times=1000)
    assert answer["error_code"] == "OUTPUT_TOO_LARGE"
    with pytest.raises(outputs.OutputTooLargeError):
        outputs.encode({"a": "x" * 100}, 50)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, '"type": "object"'),
        ({"type": "array"}, '"type": "object"'),
        ({"type": "object", "properties": {"a": {"type": "sting"}}}, "not a valid JSON Schema"),
        ({"type": "object", "properties": {"a": {"$ref": "http://evil.example/s.json"}}}, "must stay inside"),
        ({"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}, "must stay inside"),
        ({"type": "object", "$id": "http://evil.example/", "properties": {}}, "$id is not allowed"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a)\\1"}}}, "linear time"),
        ({"type": "object", "patternProperties": {"(a+)+$": {}}}, "patternProperties"),
        ({"type": "object", "properties": {"a": {"uniqueItems": True}}}, "uniqueItems"),
    ],
)
def test_an_unsafe_schema_is_refused_when_it_is_saved(schema: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match="input_schema") as refused:
        ToolChange(input_schema=schema)
    assert said in str(refused.value)


def test_a_catastrophic_pattern_costs_nothing(database: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    tool_schemas.check_schema(schema)
    started = time.monotonic()
    errors = list(tool_schemas.argument_validator(schema).iter_errors({"a": "a" * 50_000 + "!"}))
    assert len(errors) == 1
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("text", ["a\u200bb", "a\u202eb", "\U000e0041", "x" * 5000, "a\x1b[0m"])
def test_descriptions_hold_no_invisible_characters_and_are_capped(text: str) -> None:
    with pytest.raises(ValidationError):
        ToolChange(description=text)


def test_the_body_limit_is_a_setting(probe: Client) -> None:
    assert probe.call_raw("say", {"text": "x" * 3000})["result"]["isError"] is False
    mcp_settings.change({"max_body_bytes": 2048}, actor="test")
    wait_until(lambda: probe.rpc("tools/call", {"name": "say", "arguments": {"text": "x" * 3000}}).status_code == 413)
