"""Server processes as they run in production: two of them following one change, and one stopped in the middle of its work."""

import asyncio
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from bench.processes import answers, free_port
from services import mcp_groups, mcp_settings, mcp_tools
from tests.mcp_server.streams import listening
from tests.mcp_server.support import Client, group_id, key_of, rows
from tests.support.processes import OwnProcess
from tests.support.waiting import START_SECONDS, wait_until

# The HTTP server finishes, then raises the signal it was stopped by once more.
STOPPED = (0, -signal.SIGTERM)
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "get_business_metrics", "arguments": {"days": 1}},
}


class Server:
    """`anmei mcp` on a free port."""

    def __init__(self) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.process = OwnProcess(["-m", "worker.cli", "mcp"], {"ANMEI_MCP_PORT": port, "ANMEI_LOG_LEVEL": "WARNING"})

    def __enter__(self) -> "Server":
        self.process.__enter__()
        wait_until(lambda: answers(f"{self.base}/readyz"), timeout_seconds=START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__()


@pytest.fixture
def pair() -> Iterator[list[Server]]:
    with Server() as first, Server() as second:
        yield [first, second]


def test_two_processes_follow_a_change_within_a_second(pair: list[Server]) -> None:
    clients = [Client(server.base, key_of("customer_tools")) for server in pair]
    assert all("get_user_profile" in client.tools() for client in clients)
    row = next(tool for tool in mcp_tools.list_tools() if tool.tool_name == "get_user_profile")
    started = time.monotonic()
    mcp_tools.change(row.id, mcp_tools.ToolChange(enabled=False), actor="test")
    for client in clients:
        wait_until(lambda client=client: "error" in client.call_raw("get_user_profile"), poll_seconds=0.005)
    disabled_after = time.monotonic() - started

    streams = [listening(client) for client in clients]
    for stream in streams:
        stream.__enter__()
    started = time.monotonic()
    mcp_groups.regenerate_key(group_id("customer_tools"), actor="test")
    for client in clients:
        wait_until(lambda client=client: client.rpc("tools/list").status_code == 401, poll_seconds=0.005)
    revoked_after = time.monotonic() - started
    wait_until(lambda: all(stream.ended for stream in streams), poll_seconds=0.005)
    print(
        f"disabled in both after {disabled_after * 1000:.0f} ms, key refused in both after {revoked_after * 1000:.0f} ms, "
        f"streams ended after {(time.monotonic() - started) * 1000:.0f} ms"
    )
    assert disabled_after < 1
    assert revoked_after < 1


def test_a_server_stopped_in_the_middle_has_logged_every_call_it_answered() -> None:
    mcp_settings.change({"calls_per_minute": 0}, actor="test")
    with Server() as server:
        answered = asyncio.run(_call_until_it_stops(server))
        assert server.process.wait() in STOPPED
        output = server.process.output
    assert answered > 100
    # A call may have been carried out whose answer the stop cut off; none that was answered may be missing.
    (stored,) = rows("SELECT count(*) FROM mcp_call_logs")[0]
    (counted,) = rows("SELECT sum(calls) FROM mcp_call_totals")[0]
    assert (stored, counted) == (answered, answered), output


async def _call_until_it_stops(server: Server) -> int:
    headers = {"authorization": f"Bearer {key_of('customer_tools')}", "accept": "application/json, text/event-stream"}
    answered = 0
    stopping = asyncio.Event()

    async def caller(http: httpx.AsyncClient) -> None:
        nonlocal answered
        while True:
            try:
                response = await http.post("/mcp", json=CALL, headers=headers)
            except httpx.HTTPError:
                return
            assert response.json()["result"]["isError"] is False
            answered += 1
            if answered == 150:
                server.process.send(signal.SIGTERM)
                stopping.set()

    async with httpx.AsyncClient(base_url=server.base, timeout=20) as http:
        await asyncio.gather(*(caller(http) for _ in range(8)))
    assert stopping.is_set()
    return answered


def test_an_open_listener_does_not_hold_up_a_stop() -> None:
    with Server() as server, listening(Client(server.base, key_of("customer_tools"))) as stream:
        wait_until(lambda: stream.events)
        started = time.monotonic()
        server.process.send(signal.SIGTERM)
        assert server.process.wait() in STOPPED
        assert time.monotonic() - started < 4
