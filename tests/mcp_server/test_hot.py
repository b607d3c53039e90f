"""Changes are in force in every process at once, and told to those they concern."""

import time

import psycopg
import pytest

from core.settings import get_settings
from services import mcp_groups, mcp_registry, mcp_tools
from services.mcp_groups import GroupChange
from services.mcp_tools import ToolChange
from tests.mcp_server.streams import endpoint_of, listening, sse
from tests.mcp_server.support import Client, RunningServer, group_id, key_of, rows, running
from tests.support.waiting import wait_until


def tool_row(name: str) -> mcp_tools.Tool:
    return next(tool for tool in mcp_tools.list_tools() if tool.tool_name == name)


def test_a_disabled_tool_is_gone_and_back_without_a_restart(agent: Client) -> None:
    assert "get_user_profile" in agent.tools()
    mcp_tools.change(tool_row("get_user_profile").id, ToolChange(enabled=False), actor="test")
    wait_until(lambda: "get_user_profile" not in agent.tools(), timeout_seconds=1)
    assert agent.call_raw("get_user_profile")["error"]["message"] == "Unknown tool: get_user_profile"
    mcp_tools.change(tool_row("get_user_profile").id, ToolChange(enabled=True), actor="test")
    wait_until(lambda: "get_user_profile" in agent.tools(), timeout_seconds=1)


def test_metadata_of_the_row_overrides_the_function(agent: Client) -> None:
    schema = {"type": "object", "properties": {"days": {"type": "integer", "maximum": 3}}, "required": ["days"]}
    change = ToolChange(description="只有三天", input_schema=schema)
    mcp_tools.change(tool_row("get_business_metrics").id, change, actor="test")

    def offered() -> dict[str, object]:
        tools = agent.rpc("tools/list").json()["result"]["tools"]
        return next(tool for tool in tools if tool["name"] == "get_business_metrics")

    wait_until(lambda: offered()["description"] == "只有三天", timeout_seconds=1)
    assert offered()["inputSchema"] == schema
    assert agent.refused("get_business_metrics", days=4)["error_code"] == "INVALID_ARGUMENTS"
    assert agent.call("get_business_metrics", days=3)["days"] == 3


def test_a_regenerated_key_stops_the_old_one_in_every_process_and_ends_its_streams(server: RunningServer) -> None:
    with running() as second:
        clients = [server.client("customer_tools"), second.client("customer_tools")]
        streams = [listening(clients[0]), sse(clients[1])]
        for stream in streams:
            stream.__enter__()
        assert [client.rpc("tools/list").status_code for client in clients] == [200, 200]
        started = time.monotonic()
        mcp_groups.regenerate_key(group_id("customer_tools"), actor="test")
        for client in clients:
            wait_until(lambda client=client: client.rpc("tools/list").status_code == 401, timeout_seconds=1)
        assert time.monotonic() - started < 1
        wait_until(lambda: all(stream.ended for stream in streams), timeout_seconds=1)
        assert server.client("customer_tools").rpc("tools/list").status_code == 200


@pytest.mark.parametrize("group", ["project_tools", "customer_tools"])
def test_a_changed_list_is_announced_to_its_group_only(server: RunningServer, group: str) -> None:
    name = {"project_tools": "service_info", "customer_tools": "get_user_profile"}[group]
    with listening(server.client("project_tools")) as projects, listening(server.client("customer_tools")) as customers:
        streams = {"project_tools": projects, "customer_tools": customers}
        wait_until(lambda: all(len(stream.events) == 1 for stream in streams.values()))
        mcp_tools.change(tool_row(name).id, ToolChange(description="neu"), actor="test")
        told = streams.pop(group)
        wait_until(lambda: "notifications/tools/list_changed" in told.methods(), timeout_seconds=1)
        (other,) = streams.values()
        assert other.methods() == ["notifications/subscriptions/acknowledged"]


def test_sse_clients_are_told_too(agent: Client) -> None:
    with sse(agent) as stream:
        path = endpoint_of(stream)
        hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        assert agent.rpc("initialize", hello, path=path).status_code == 202
        agent.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, path=path)
        wait_until(lambda: stream.messages())
        assert stream.messages()[0]["result"]["capabilities"]["tools"]["listChanged"] is True
        mcp_tools.change(tool_row("get_user_profile").id, ToolChange(description="new"), actor="test")
        wait_until(lambda: "notifications/tools/list_changed" in stream.methods(), timeout_seconds=1)


def test_a_change_that_alters_no_list_announces_nothing(agent: Client) -> None:
    with listening(agent) as stream:
        wait_until(lambda: len(stream.events) == 1)
        mcp_tools.change(tool_row("get_user_profile").id, ToolChange(timeout_seconds=7), actor="test")
        mcp_tools.change(tool_row("get_user_profile").id, ToolChange(description="x"), actor="test")
        wait_until(lambda: len(stream.events) == 2)
        assert stream.methods()[1:] == ["notifications/tools/list_changed"]


def test_a_broken_row_is_dropped_and_shown_and_takes_nothing_with_it(agent: Client) -> None:
    before = set(agent.tools())
    with psycopg.connect(get_settings().require_database_url()) as connection:
        connection.execute("UPDATE mcp_tools SET input_schema = '{}' WHERE tool_name = 'get_user_profile'")
    wait_until(lambda: set(agent.tools()) == before - {"get_user_profile"}, timeout_seconds=1)
    entry = mcp_registry.current().tools[group_id("customer_tools")]["get_user_profile"]
    assert entry.problem == 'an input schema is an object with "type": "object"'
    assert mcp_registry.is_tool_available("get_user_profile") is False


def test_a_lost_announcement_is_made_up_for(agent: Client) -> None:
    with psycopg.connect(get_settings().require_database_url()) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE mcp_tools SET enabled = false WHERE tool_name = 'get_user_profile'")
        connection.execute("SET session_replication_role = DEFAULT")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'anmei-listener'"
        )
    wait_until(lambda: "get_user_profile" not in agent.tools(), timeout_seconds=15)


def test_the_registry_answers_by_group_tool_and_server(server: RunningServer) -> None:
    assert mcp_registry.is_service_enabled("mcp") is True
    assert mcp_registry.is_service_enabled("customer_tools") is True
    assert mcp_registry.is_service_enabled("nothing") is False
    assert mcp_registry.is_tool_available("get_user_profile") is True
    assert mcp_registry.is_tool_available("nothing") is False
    mcp_groups.change(group_id("customer_tools"), GroupChange(enabled=False), actor="test")
    wait_until(lambda: not mcp_registry.is_tool_available("get_user_profile"), timeout_seconds=1)
    assert mcp_registry.is_service_enabled("customer_tools") is False


def test_showing_and_replacing_a_key_is_audited_and_never_stores_it_plain(server: RunningServer) -> None:
    key = key_of("customer_tools")
    mcp_groups.regenerate_key(group_id("customer_tools"), actor="boss")
    stored = rows("SELECT key_hash, key_encrypted FROM mcp_tool_groups WHERE name = 'customer_tools'")[0]
    assert key.encode() not in bytes(stored[0]) + bytes(stored[1])
    trail = rows("SELECT actor, action FROM audit_log WHERE subject = 'mcp_group:customer_tools' ORDER BY id")
    assert trail[-2:] == [("test", "mcp_group.key_shown"), ("boss", "mcp_group.key_regenerated")]
    assert key not in str(rows("SELECT * FROM audit_log"))
    assert key_of("customer_tools") != key
