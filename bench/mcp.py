"""Calls per second and CPU per call of the MCP server, beside a bare FastAPI endpoint, in one run.

    python -m bench.mcp [--seconds 3] [--calls 0]

Each figure is the median of three rounds. CPU is that of the server's process (user and system, psutil), so it includes
the call log's writer; the database's own work is not in it. With --calls N a last part makes N calls, stops the server
with SIGTERM after N/2 of them, starts it again, and compares the answers with the rows.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROUNDS = 3
BARE = """
from fastapi import FastAPI
app = FastAPI()
@app.post("/mcp")
async def answer(body: dict): return {"jsonrpc": "2.0", "id": body["id"], "result": {"content": [{"type": "text", "text": "{}"}]}}
"""


class Process:
    """A server on a free port."""

    def __init__(self, target: str, directory: Path, *, factory: bool) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        options = ["--factory"] if factory else []
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", target, *options, "--port", str(self.port), "--log-level", "error"),
                *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--timeout-graceful-shutdown", "5"),
            ],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(directory)])},
        )
        self._watched = psutil.Process(self._process.pid)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                time.sleep(0.05)

    def cpu_seconds(self) -> float:
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)


def request(port: int, key: str, method: str, params: dict[str, Any]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        "accept: application/json, text/event-stream\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def one_client(port: int, message: bytes, until: float, most: int, needle: bytes) -> list[float]:
    """Send the message again and again over one connection; return each answer's latency in seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies: list[float] = []
    try:
        while time.perf_counter() < until and len(latencies) < most:
            started = time.perf_counter()
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            assert needle in body, body[:500]
            latencies.append(time.perf_counter() - started)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
    return latencies


async def load(
    port: int, message: bytes, clients: int, seconds: float, most: int = 10**9, needle: bytes = b"result"
) -> list[float]:
    until = time.perf_counter() + seconds
    results = await asyncio.gather(*(one_client(port, message, until, most, needle) for _ in range(clients)))
    return [latency for result in results for latency in result]


def measure(name: str, server: Process, message: bytes, seconds: float) -> None:
    for clients in (1, 16):
        rates, costs, p99s = [], [], []
        for _ in range(ROUNDS):
            cpu, started = server.cpu_seconds(), time.perf_counter()
            latencies = asyncio.run(load(server.port, message, clients, seconds))
            elapsed = time.perf_counter() - started
            rates.append(len(latencies) / elapsed)
            costs.append((server.cpu_seconds() - cpu) / len(latencies) * 1e6)
            p99s.append(sorted(latencies)[int(len(latencies) * 0.99)] * 1000)
        spread = f"{min(rates):.0f}-{max(rates):.0f}"
        print(
            f"{name:44} c={clients:<3} {statistics.median(rates):7.0f} calls/s ({spread})  "
            f"{statistics.median(costs):6.0f} µs CPU/call  p99 {statistics.median(p99s):6.1f} ms",
            flush=True,
        )


def add_tools(count: int) -> None:
    """Fill the table to at least this many rows, in groups that nobody calls: every function in each."""
    from core.database import unit_of_work
    from mcp_server.tools import TOOLBOX
    from models import Tool
    from services import mcp_groups

    for number in range(count // len(TOOLBOX) + 1):
        group, _ = mcp_groups.create(mcp_groups.NewGroup(name=f"filler-{number}"), actor="bench")
        with unit_of_work() as session:
            session.add_all(Tool(tool_name=name, group_id=group.id) for name in TOOLBOX)


def count_rows(calls: int, key: str, directory: Path, params: dict[str, Any]) -> None:
    """Make calls, with a stop in the middle; the answers and the rows must be equal."""
    from core.database import unit_of_work
    from queries import mcp_calls

    with unit_of_work() as session:
        before = sum(total.calls for total in mcp_calls.list_totals(session))
    answered, started = 0, time.perf_counter()
    server = Process("mcp_server.app:create_app", directory, factory=True)

    async def stopped_in_the_middle() -> int:
        message = request(server.port, key, "tools/call", params)
        task = asyncio.create_task(load(server.port, message, 16, 10**6, most=calls // 16))
        await asyncio.sleep(calls / 2 / 900)
        await asyncio.to_thread(server.stop)
        return len(await task)

    answered += asyncio.run(stopped_in_the_middle())
    first = answered
    server = Process("mcp_server.app:create_app", directory, factory=True)
    while answered < calls:
        each = max(1, (calls - answered) // 16)
        clients = min(16, calls - answered)
        message = request(server.port, key, "tools/call", params)
        answered += len(asyncio.run(load(server.port, message, clients, 10**6, most=each)))
    server.stop()
    with unit_of_work() as session:
        rows = sum(total.calls for total in mcp_calls.list_totals(session)) - before
        logged = session.connection().exec_driver_sql("SELECT count(*) FROM mcp_call_logs").scalar_one() - before
    seconds = time.perf_counter() - started
    print(
        f"calls answered {answered} (stopped by SIGTERM after {first}), rows {logged}, counted {rows}, {seconds:.0f} s"
    )
    assert answered == rows == logged


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--calls", type=int, default=0)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="anmei-bench-"))
    directory.chmod(0o711)
    (directory / "bare.py").write_text(BARE)
    os.environ["ANMEI_DATA_DIR"] = str(directory)

    from worker.embedded import prepare

    with prepare(directory, durable=False) as embedded:
        os.environ["ANMEI_DATABASE_URL"] = str(embedded.database_url)
        os.environ["ANMEI_BROKER_URL"] = str(embedded.broker_url)
        run(directory, options.seconds, options.calls)


def run(directory: Path, seconds: float, calls: int) -> None:
    import migrations
    from core.logging import configure_logging
    from services import mcp_groups, mcp_seed, mcp_settings
    from tests.support.factories import create_journey

    os.environ["ANMEI_LOG_LEVEL"] = "WARNING"
    configure_logging("bench")
    migrations.upgrade()
    mcp_seed.ensure_seed()
    mcp_settings.change({"calls_per_minute": 1_000_000}, actor="bench")
    key = mcp_groups.reveal_key("customer_tools", "bench").get_secret_value()
    handle = create_journey().handle
    profile = {"name": "get_user_profile", "arguments": {"user_id": handle}}

    if seconds:
        measure_all(directory, key, profile, seconds)
    if calls:
        # Refused arguments pass everything but the tool itself, and are logged like any other call.
        count_rows(calls, key, directory, {"name": "get_user_profile", "arguments": {"user_id": ""}})


def measure_all(directory: Path, key: str, profile: dict[str, Any], seconds: float) -> None:
    bare = Process("bare:app", directory, factory=False)
    measure("bare FastAPI endpoint", bare, request(bare.port, key, "tools/call", profile), seconds)
    bare.stop()
    for tools in (10, 1000):
        if tools > 10:
            add_tools(tools)
        server = Process("mcp_server.app:create_app", directory, factory=True)
        refused = {"name": "get_user_profile", "arguments": {"user_id": ""}}
        for name, method, params in (
            ("get_user_profile (one query)", "tools/call", profile),
            ("refused arguments (no database, logged)", "tools/call", refused),
            ("tools/list", "tools/list", {}),
        ):
            label = f"{name}, {17 if tools == 10 else 1017} tools"
            measure(label, server, request(server.port, key, method, params), seconds)
        server.stop()


if __name__ == "__main__":
    main()
