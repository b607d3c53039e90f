"""What a stack is made of: for each process its command, its environment, and how one knows that it is ready."""

import asyncio
import ipaddress
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.embedded import Server
from worker.processes import Account

# A child that was asked to announce itself prints this line once it serves; the launcher keeps it to itself.
READY_LINE = "\x1eready"
_PROBE_TIMEOUT_SECONDS = 2.0

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Role:
    """One process to keep running. `label` tells two of the same role apart; `probe` None waits for READY_LINE."""

    name: str
    label: str
    arguments: list[str]
    environment: Mapping[str, str]
    probe: Probe | None
    stop_signal: signal.Signals = signal.SIGTERM
    account: Account | None = None
    # Where its output goes instead of the console.
    log_file: Path | None = None
    # When the launcher is killed nobody is left to insist, and a worker without its broker could wait for ever.
    # Ours bear being killed at any point; the servers close cleanly.
    death_signal: signal.Signals = signal.SIGKILL


def server_role(server: Server) -> Role:
    """Return the role of an embedded server."""

    async def answers() -> bool:
        return await asyncio.to_thread(server.is_ready)

    return Role(
        name=server.role,
        label=server.role,
        arguments=server.arguments,
        environment=server.environment,
        probe=answers,
        stop_signal=server.stop_signal,
        death_signal=server.stop_signal,
        account=server.account,
        log_file=server.log_file,
    )


def own_command(*arguments: str) -> list[str]:
    """Return the command line of one of our verbs; -P keeps the current directory from shadowing our modules."""
    return [sys.executable, "-P", "-m", "worker.cli", *arguments]


def simulator_command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", f"simulators.{name}", *arguments]


def loopback_of(bind: str) -> str:
    """Return where a local client reaches a server: at its address, or at loopback when it is bound to every one."""
    unspecified = {str(ipaddress.IPv4Address(0)): "127.0.0.1", str(ipaddress.IPv6Address(0)): "::1"}
    return unspecified.get(bind, bind)


def http_probe(host: str, port: int, path: str) -> Probe:
    """Return a probe that is true when a GET of the path answers 200."""
    asked = loopback_of(host)

    async def answers() -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
                return await _status(asked, port, path) == 200
        except (OSError, TimeoutError, ValueError):
            # Not listening yet, or not HTTP: that is what is being asked.
            return False

    return answers


async def _status(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        line = await reader.readline()
        return int(line.split()[1]) if len(line.split()) > 1 else 0
    finally:
        writer.close()
