"""Consultants' devices: one socket each, cut off and resumed, every frame kept with the time it came."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.consultants_proof.stack import Consultant
from tests.support.waiting import wait_until_async

COME_BACK_SECONDS = 0.2
RECEIPTS_AGAIN = 50


@dataclass(frozen=True)
class Frame:
    """One recorded frame, and the Unix time it was received."""

    id: str
    type: str
    data: dict[str, Any]
    at: float


@dataclass
class Device:
    """Comes back whenever its socket ends, with the id of its last frame, at whichever process."""

    consultant: Consultant
    urls: Sequence[str]
    frames: list[Frame] = field(default_factory=list)
    connections: int = 0
    cuts: int = 0
    last_event_id: str | None = None
    # How long it stays away after it was cut.
    away_seconds: float = 0.0
    _socket: ClientConnection | None = None

    def of(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.type == kind]

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def cut(self, *, away_seconds: float) -> None:
        """Cut the connection without a goodbye, as a tunnel does."""
        if self._socket is not None:
            self.away_seconds = away_seconds
            self.cuts += 1
            self._socket.transport.abort()

    async def listen(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._converse(random.choice(self.urls))
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError):
                await asyncio.sleep(self.away_seconds or COME_BACK_SECONDS)
                self.away_seconds = 0.0

    async def _converse(self, url: str) -> None:
        resume = f"?last_event_id={self.last_event_id}" if self.last_event_id is not None else ""
        address = f"{url.replace('http', 'ws')}/ws/consultants{resume}"
        async with connect(address, additional_headers=self.consultant.headers, proxy=None) as socket:
            self.connections += 1
            self._socket = socket
            try:
                async for text in socket:
                    await self._hear(socket, json.loads(text))
            finally:
                self._socket = None

    async def _hear(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        at = time.time()
        if frame["id"] is None:
            return
        self.last_event_id = frame["id"]
        if frame["type"] == "connected" and self.connections > 1:
            # The last receipts may have been lost with the connection.
            ids = [one.id for one in self.of("new_customer")[-RECEIPTS_AGAIN:]]
            await socket.send(json.dumps({"type": "received", "data": {"ids": ids}}))
        if frame["type"] in ("connected", "ping"):
            return
        self.frames.append(Frame(frame["id"], frame["type"], frame["data"], at))
        if frame["type"] == "new_customer":
            await socket.send(json.dumps({"type": "received", "data": {"ids": [frame["id"]]}}))


@asynccontextmanager
async def listening(consultants: Sequence[Consultant], urls: Sequence[str]) -> AsyncIterator[list[Device]]:
    """Have a device of each consultant's listen while inside, spread over the processes; all are open at the beginning."""
    devices = [Device(one, urls) for one in consultants]
    tasks = []
    # The first connections are spread evenly; later ones go where chance leads.
    for number, device in enumerate(devices):
        device.urls = [urls[number % len(urls)]]
        tasks.append(asyncio.create_task(device.listen()))
    try:
        await wait_until_async(lambda: all(device.is_open for device in devices), timeout_seconds=60)
        for device in devices:
            device.urls = urls
        yield devices
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
