"""A device at a socket: what it was sent, and where it stands."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.api.conftest import Person
from tests.api.processes import ApiProcess


class Device:
    """A consultant's device: keeps what it was sent and where it stands."""

    def __init__(self, api: ApiProcess, person: Person, path: str = "/ws/consultants") -> None:
        self.url, self.person, self.path = api.ws_url, person, path
        self.last_event_id: str | None = None
        self.frames: list[dict[str, Any]] = []

    @asynccontextmanager
    async def connected(self, **options: Any) -> AsyncIterator[ClientConnection]:
        resume = f"?last_event_id={self.last_event_id}" if self.last_event_id is not None else ""
        async with connect(self.url + self.path + resume, additional_headers=self.person.headers, **options) as socket:
            yield socket

    async def read(self, socket: ClientConnection) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 5))
        self.frames.append(frame)
        if frame["id"] is not None:
            self.last_event_id = frame["id"]
        return frame

    async def read_until(self, socket: ClientConnection, kind: str) -> dict[str, Any]:
        while (frame := await self.read(socket))["type"] != kind:
            pass
        return frame

    def received(self, kind: str = "new_customer") -> list[str]:
        return [frame["id"] for frame in self.frames if frame["type"] == kind]


async def close_code(socket: ClientConnection, device: Device | None = None) -> int | None:
    """Read until the socket is closed; return the code it was closed with, None where it was cut off."""
    try:
        while True:
            await (device.read(socket) if device else asyncio.wait_for(socket.recv(), 5))
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
