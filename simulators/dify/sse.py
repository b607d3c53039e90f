"""Server-sent events as Dify frames them, and the stream that carries a run's frames to whoever still listens."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

PING = b"event: ping\n\n"
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


def frame(payload: dict[str, Any]) -> bytes:
    """One event on the wire."""
    return b"data: " + json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class Channel:
    """Between a run and its response. The run never waits for the reader; frames nobody reads are dropped."""

    def __init__(self, *, ping_seconds: float | None = 10.0) -> None:
        self.ping_seconds = ping_seconds
        self.closed = False
        self.cut = False
        self.abandoned = False
        self._frames: list[bytes] = []
        self._opened = asyncio.Event()
        self._changed = asyncio.Event()

    def open(self) -> None:
        """Let the response headers go out."""
        self._opened.set()

    def emit(self, data: bytes) -> None:
        if not self.abandoned:
            self._frames.append(data)
            self._changed.set()

    def close(self, *, cut: bool = False) -> None:
        """End the body; ``cut`` breaks the connection in the middle of it instead."""
        self.closed, self.cut = True, cut
        self._opened.set()
        self._changed.set()

    def abandon(self) -> None:
        """Nobody reads any more."""
        self.abandoned = True
        self._frames.clear()
        self._opened.set()
        self._changed.set()

    def drain(self) -> bytes:
        data = b"".join(self._frames)
        self._frames.clear()
        self._changed.clear()
        return data

    async def wait_opened(self) -> None:
        await self._opened.wait()

    async def wait_changed(self, timeout_seconds: float | None) -> bool:
        """Wait for news; False when the time passed without any."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


async def _watch(receive: Receive, on_hang_up: Callable[[], None]) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            on_hang_up()
            return


class StreamResponse:
    """An ASGI response that forwards a channel, pings while it is quiet, and reports when the caller hangs up."""

    def __init__(self, channel: Channel, on_hang_up: Callable[[], None]) -> None:
        self._channel = channel
        self._on_hang_up = on_hang_up

    def _hung_up(self) -> None:
        if not self._channel.closed:
            self._on_hang_up()
        self._channel.abandon()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = asyncio.create_task(_watch(receive, self._hung_up))
        try:
            await self._channel.wait_opened()
            if not self._channel.abandoned:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await self._forward(send)
        finally:
            watcher.cancel()

    async def _forward(self, send: Send) -> None:
        channel, now = self._channel, asyncio.get_running_loop().time
        ping_at = now() + (channel.ping_seconds or 0)
        while not channel.abandoned:
            closed = channel.closed
            data = channel.drain()
            if closed and not channel.cut:
                await send({"type": "http.response.body", "body": data})
                return
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            if closed:
                # Returning with the body unfinished makes the server close the socket without a last chunk.
                return
            quiet_seconds = None if channel.ping_seconds is None else max(ping_at - now(), 0)
            if not await channel.wait_changed(quiet_seconds):
                ping_at += channel.ping_seconds or 0
                await send({"type": "http.response.body", "body": PING, "more_body": True})
