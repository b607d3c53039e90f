"""Every revision, every door, and the habits of the clients that are known."""

import asyncio
import json
import os
import socket
import sys
from urllib.parse import urlsplit

import pytest
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client

from models import Journey
from tests.mcp_server.streams import META, MODERN_HEADERS, Stream, endpoint_of, sse
from tests.mcp_server.support import Client, RunningServer, key_of, logged
from tests.support.waiting import wait_until

CUSTOMER_TOOLS = ["analyze_customer", "get_business_metrics", "get_conversation_data", "get_user_profile"]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_the_clients_revision_is_echoed(agent: Client, version: str, path: str) -> None:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "Dify", "version": "1"}}
    answer = agent.rpc("initialize", params, path=path)
    assert answer.json()["result"]["protocolVersion"] == version
    assert answer.json()["id"] == 0
    assert "mcp-session-id" not in answer.headers
    assert answer.headers["content-type"] == "application/json"


def test_a_notification_is_202_without_a_body(agent: Client) -> None:
    answer = agent.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (answer.status_code, answer.content) == (202, b"")


def test_the_2026_revision_needs_no_handshake_and_is_private(agent: Client) -> None:
    listed = agent.rpc("tools/list", {"_meta": META}, headers=MODERN_HEADERS | {"mcp-method": "tools/list"})
    result = listed.json()["result"]
    assert [tool["name"] for tool in result["tools"]] == CUSTOMER_TOOLS
    assert (result["cacheScope"], result["ttlMs"]) == ("private", 0)
    headers = MODERN_HEADERS | {"mcp-method": "tools/call", "mcp-name": "get_business_metrics"}
    called = agent.rpc("tools/call", {"name": "get_business_metrics", "arguments": {}, "_meta": META}, headers=headers)
    assert called.json()["result"]["isError"] is False


def test_blanks_around_mcp_headers_do_no_harm(agent: Client) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}})
    lines = [
        "POST /mcp HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Authorization: {agent.headers['authorization']}",
        f"Content-Length: {len(body)}",
        "MCP-Protocol-Version: 2026-07-28 ",
        "Mcp-Method:  tools/list\t",
    ]
    address = urlsplit(agent.base)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        assert connection.makefile("rb").readline().split()[1] == b"200"


def test_a_key_sees_and_calls_its_own_tools_only(server: RunningServer, agent: Client) -> None:
    assert agent.tools() == CUSTOMER_TOOLS
    projects = server.client("project_tools")
    assert projects.tools() == ["appointment_booking", "basic_inquiry", "get_project_metrics", "service_info"]
    assert projects.call_raw("get_user_profile")["error"]["code"] == -32602
    assert agent.call_raw("service_info")["error"]["code"] == -32602


def test_unknown_disabled_and_foreign_tools_look_alike_outside_and_differ_in_the_log(agent: Client) -> None:
    from services import mcp_tools

    disabled = next(tool for tool in mcp_tools.list_tools() if tool.tool_name == "analyze_customer")
    mcp_tools.change(disabled.id, mcp_tools.ToolChange(enabled=False), actor="test")
    wait_until(lambda: "analyze_customer" not in agent.tools())
    answers = {name: agent.call_raw(name)["error"] for name in ("analyze_customer", "service_info", "nothing")}
    for name, error in answers.items():
        assert error == {"code": -32602, "message": f"Unknown tool: {name}"}
    assert [(row["tool_name"], row["outcome"]) for row in logged(3)] == [
        ("analyze_customer", "disabled_tool"),
        ("service_info", "foreign_tool"),
        ("nothing", "unknown_tool"),
    ]


def test_null_and_missing_arguments_are_no_crash(agent: Client) -> None:
    for params in ({"name": "get_business_metrics"}, {"name": "get_business_metrics", "arguments": None}):
        assert agent.rpc("tools/call", params).json().get("result", {}).get("isError") is not True


def test_a_progress_token_is_answered_by_an_event_stream(agent: Client, journey: Journey) -> None:
    params = {"name": "get_user_profile", "arguments": {"user_id": journey.handle}, "_meta": {"progressToken": "p"}}
    body = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}
    with Stream(agent, "POST", "/mcp", body) as stream:
        wait_until(lambda: stream.ended)
        assert [message["id"] for message in stream.messages()] == [3]


def test_one_text_part_holding_json_and_no_output_schema(agent: Client, journey: Journey) -> None:
    tools = agent.rpc("tools/list").json()["result"]["tools"]
    assert all("outputSchema" not in tool for tool in tools)
    result = agent.call_raw("get_user_profile", {"user_id": journey.handle})["result"]
    assert set(result) == {"content", "isError"}
    assert [part["type"] for part in result["content"]] == ["text"]


def test_sse_with_the_sdks_own_client(server: RunningServer, journey: Journey) -> None:
    async def session() -> str:
        headers = {"authorization": f"Bearer {key_of('customer_tools')}"}
        async with (
            sse_client(f"{server.base}/sse", headers=headers) as (reading, writing),
            ClientSession(reading, writing) as client,
        ):
            await client.initialize()
            assert [tool.name for tool in (await client.list_tools()).tools] == CUSTOMER_TOOLS
            result = await client.call_tool("get_user_profile", {"user_id": journey.handle})
            return str(json.loads(result.content[0].text)["username"])  # type: ignore[union-attr]

    assert asyncio.run(session()) == "小美"
    assert [row["transport"] for row in logged(1)] == ["sse"]


def test_a_foreign_key_cannot_post_into_an_sse_session(server: RunningServer, agent: Client) -> None:
    with sse(agent) as stream:
        path = endpoint_of(stream)
        other = server.client("project_tools")
        assert other.rpc("tools/list", path=path).status_code == 404
        assert server.client(None).rpc("tools/list", path=path).status_code == 401
        assert stream.messages() == []


def test_stdio_serves_the_group_of_the_key_in_the_environment(database: str, journey: Journey) -> None:
    code = "from core.logging import configure_logging as c; c('mcp'); import mcp_server.stdio as s; s.serve_stdio()"
    environment = {name: value for name, value in os.environ.items() if name.startswith(("ANMEI_", "PATH", "HOME"))}
    environment |= {"ANMEI_MCP_KEY": key_of("customer_tools"), "PYTHONPATH": os.getcwd()}

    async def session() -> str:
        parameters = StdioServerParameters(command=sys.executable, args=["-c", code], env=environment)
        async with stdio_client(parameters) as (reading, writing), ClientSession(reading, writing) as client:
            await client.initialize()
            assert [tool.name for tool in (await client.list_tools()).tools] == CUSTOMER_TOOLS
            result = await client.call_tool("get_user_profile", {"user_id": journey.handle})
            return str(json.loads(result.content[0].text)["username"])  # type: ignore[union-attr]

    assert asyncio.run(session()) == "小美"
    assert [row["transport"] for row in logged(1)] == ["stdio"]
