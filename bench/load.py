"""The load generator, a process of its own so that its cost is counted apart: ``python -m bench.load``.

Reads one JSON line (LoadSpec), prints `ready` when every request is signed, waits for a line, sends, prints one JSON line
(LoadResult). Requests are bytes made beforehand, on raw connections: what is measured is the server, not a client library.
"""

import asyncio
import base64
import gc
import hashlib
import hmac
import json
import os
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import uvloop

# A server that has not answered by then has failed the request.
ANSWER_SECONDS = 30.0
# An open loop opens connections as it needs them, up to this many; beyond, requests queue and their wait counts.
OPEN_LOOP_CONNECTIONS = 512


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What to send: `per_second` None is a closed loop over the connections. Without a secret nothing is signed."""

    port: int
    path: str
    prefix: str
    count: int
    connections: int
    per_second: float | None = None
    secret: str | None = None


@dataclass(slots=True)
class LoadResult:
    """When the first request was sent (seconds since the epoch), how long each answer took, and what it all cost."""

    began_at: float = 0.0
    answered_at: float = 0.0
    accept_ms: list[float] = field(default_factory=list)
    refused: int = 0
    late_ms_max: float = 0.0
    cpu_seconds: float = 0.0


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface, not the base class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        status = parse_answer(self._buffer)
        if status is not None and self._answer is not None and not self._answer.done():
            self._buffer = b""
            self._answer.set_result(status)

    async def send(self, request: bytes) -> int:
        """Return the status of the answer; 0 when none came."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            return 0
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._answer
        except TimeoutError:
            self._transport.abort()
            return 0


def parse_answer(buffer: bytes) -> int | None:
    """Return the status of an answer with Content-Length once all of it is there, None until then."""
    head, separator, body = buffer.partition(b"\r\n\r\n")
    if not separator:
        return None
    lines = head.split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0)
    return int(lines[0].split(b" ")[1]) if len(body) >= length else None


def registration(user_id: str, number: int) -> bytes:
    """Return the body of one registration, of the size real ones have."""
    data: dict[str, Any] = {
        "user_id": user_id,
        "username": f"客户{number}",
        "email": f"{user_id}@example.com",
        "phone": f"+86138{number % 10**8:08d}",
        "avatar": None,
        "roles": ["customer"],
        "primary_role": "customer",
        "locale": "zh-CN",
        "source": "wechat",
        "interests": ["skin", "laser"],
        "registered_at": "2026-01-01T00:00:00Z",
    }
    event = {"type": "user.registered", "timestamp": "2026-01-01T00:00:00Z", "data": data}
    return json.dumps(event, ensure_ascii=False).encode()


def signed_headers(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the three headers of the Standard Webhooks specification, as HTTP lines."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return f"webhook-id: {webhook_id}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: v1,{signature}\r\n"


def requests_of(spec: LoadSpec, *, now: int) -> list[bytes]:
    """Return every request of the run as the bytes to write."""
    made = []
    for number in range(spec.count):
        user_id = f"{spec.prefix}-{number}"
        body = registration(user_id, number)
        signature = signed_headers(spec.secret, f"msg-{user_id}", now, body) if spec.secret else ""
        head = (
            f"POST {spec.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{signature}\r\n"
        )
        made.append(head.encode() + body)
    return made


class Load:
    """One run of the generator."""

    def __init__(self, spec: LoadSpec, requests: list[bytes]) -> None:
        self._spec = spec
        self._requests = requests
        self._idle: deque[Connection] = deque()
        self._freed = asyncio.Event()
        self._open = 0
        self.result = LoadResult()

    async def run(self) -> LoadResult:
        connections = [await self._connect() for _ in range(self._spec.connections)]
        self.result.began_at = time.time()
        if self._spec.per_second is None:
            rest = iter(self._requests)
            await asyncio.gather(*(self._closed_loop(one, rest) for one in connections))
        else:
            self._idle.extend(connections)
            await self._open_loop(self._spec.per_second)
        self.result.answered_at = time.time()
        self.result.cpu_seconds = sum(os.times()[:2])
        return self.result

    async def _connect(self) -> Connection:
        self._open += 1
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._spec.port)
        return connection

    async def _closed_loop(self, connection: Connection, requests: Any) -> None:
        for request in requests:
            began = time.perf_counter()
            self._note(await connection.send(request), began)

    async def _open_loop(self, per_second: float) -> None:
        began, running = time.perf_counter(), []
        for number, request in enumerate(self._requests):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.result.late_ms_max = max(self.result.late_ms_max, (time.perf_counter() - due) * 1000)
            running.append(asyncio.create_task(self._one(request, due)))
        await asyncio.gather(*running)

    async def _one(self, request: bytes, due: float) -> None:
        connection = await self._take()
        # From the moment it was due, so that a server that holds up its callers does not flatter itself.
        self._note(await connection.send(request), due)
        self._idle.append(connection)
        self._freed.set()

    async def _take(self) -> Connection:
        while not self._idle:
            if self._open < OPEN_LOOP_CONNECTIONS:
                return await self._connect()
            self._freed.clear()
            await self._freed.wait()
        return self._idle.popleft()

    def _note(self, status: int, began: float) -> None:
        if 200 <= status < 300:
            self.result.accept_ms.append((time.perf_counter() - began) * 1000)
        else:
            self.result.refused += 1


def main() -> None:
    """Serve one run."""
    spec = LoadSpec(**json.loads(sys.stdin.readline()))
    requests = requests_of(spec, now=int(time.time()))
    print("ready", flush=True)
    sys.stdin.readline()
    gc.disable()
    before = sum(os.times()[:2])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_run(spec, requests))
    result.cpu_seconds -= before
    print(json.dumps(asdict(result)), flush=True)


async def _run(spec: LoadSpec, requests: list[bytes]) -> LoadResult:
    return await Load(spec, requests).run()


if __name__ == "__main__":
    main()
