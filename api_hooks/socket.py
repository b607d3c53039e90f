"""One open WebSocket: what it still has to be sent, in order and bounded, and why it ends."""

import asyncio
from collections import deque
from collections.abc import Mapping
from uuid import UUID

import orjson
from fastapi import WebSocket

from core.ids import new_id
from queries.events import Told
from services import frames
from services.auth import Identity
from services.permissions import Permission

# A device this far behind is not reading; it is cut off, and resumes where it was.
QUEUE_FRAMES = 1000

# Close codes of our own (4000–4999 are an application's); a client comes back at once after SLOW, after signing in after ENDED.
ENDED = 4401
SLOW = 4408
BAD_FRAME = 4400


def frame(event: Told, locale: str | None = None) -> str:
    """Return the event as it goes over the wire, its words for people in the language of the locale."""
    data = frames.shown(event, locale)
    return f'{{"id":"{event.seq}","type":"{event.type}","data":{data}}}'


class Socket:
    """Lives on the event loop. Events are offered to it in order; one writer sends them."""

    def __init__(
        self,
        websocket: WebSocket,
        identity: Identity,
        permission: Permission,
        audiences: tuple[str, ...],
        locale: str | None = None,
    ) -> None:
        self.id: UUID = new_id()
        self.websocket = websocket
        self.identity = identity
        self.permission = permission
        self.audiences = audiences
        self.locale = locale
        # Events up to here are the resume's business, or known to the client already.
        self._known = 0
        self._waiting: deque[tuple[int | None, str]] = deque()
        self._changed = asyncio.Event()
        # The code and reason to close with, once somebody wants it closed.
        self.ending: tuple[int, str] | None = None
        # Apart from `_changed`: a writer that hangs on a device that does not read must not keep the socket open.
        self._to_end = asyncio.Event()

    def offer(self, number: int | None, text: str) -> None:
        """Queue a frame; `number` None for one that is not recorded. A full queue ends the socket."""
        if self.ending is not None:
            return
        if len(self._waiting) >= QUEUE_FRAMES:
            self.end(SLOW, "too far behind: come back with last_event_id")
            return
        self._waiting.append((number, text))
        self._changed.set()

    def ping(self, position: int | None) -> None:
        """Queue a ping. Its id says how far the client is with everything before it received, so it can resume from there."""
        reached = max(position or 0, self._known)
        self.offer(None, orjson.dumps({"id": str(reached), "type": "ping", "data": {}}).decode())

    def end(self, code: int, reason: str) -> None:
        """Have the socket closed, whatever is still queued. The first reason counts."""
        if self.ending is None:
            self.ending = (code, reason)
            self._to_end.set()

    def skip_to(self, number: int) -> None:
        """Send no event up to this number from the queue: the client has them, or gets them from the record."""
        self._known = number

    async def write(self) -> None:
        """Send what is queued, and what comes, until cancelled."""
        while True:
            while self._waiting:
                number, text = self._waiting.popleft()
                if number is None or number > self._known:
                    await self.websocket.send_text(text)
            self._changed.clear()
            await self._changed.wait()

    async def ended(self) -> None:
        """Wait until somebody ends the socket."""
        await self._to_end.wait()

    async def send(self, kind: str, data: Mapping[str, object], number: int | None = None) -> None:
        """Send one frame past the queue; only before `write` runs."""
        identity = str(number) if number is not None else None
        await self.websocket.send_text(orjson.dumps({"id": identity, "type": kind, "data": data}).decode())
