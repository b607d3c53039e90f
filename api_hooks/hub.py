"""One a process: reads the events once for all its sockets, keeps its consultants present, ends what must end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api_hooks.socket import ENDED, Socket, frame
from clients import fanout
from core import log_events
from core.logging import get_logger
from core.settings import get_settings
from queries.consultants import Receipt
from queries.events import Told
from services import auth, events, presence

log = get_logger(__name__)

# How late an event is at most when no hint comes: with the subscription up, and without it.
POLL_SECONDS = 1.0
POLL_ALONE_SECONDS = 0.25
PING_SECONDS = 20.0
# Receipts that come together are written together.
RECEIPT_SECONDS = 0.25
RETRY_SECONDS = 0.5
# The hub's own: a storm of connecting sockets must not stand before the webhook's commits.
THREADS = 4

T = TypeVar("T")


class Hub:
    """Lives on the event loop from `start` to `stop`."""

    def __init__(self) -> None:
        self._audiences: dict[str, set[Socket]] = {}
        self._sockets: dict[UUID, Socket] = {}
        # Everything up to here was handed out; None while nobody listens.
        self._position: int | None = None
        self._attaching = asyncio.Lock()
        self._wake = asyncio.Event()
        self._receipts: list[Receipt] = []
        self._subscribed = False
        self._stopped = False
        self._tasks: list[asyncio.Task[None]] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="hub")

    def start(self) -> None:
        for work in (self._read_forever, self._subscribe, self._refresh, self._ping, self._write_receipts):
            self._tasks.append(asyncio.create_task(_forever(work)))

    async def stop(self) -> None:
        """Stop, and let this process's consultants go offline."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        connections = list(self._connections())
        if connections:
            await self.run(presence.leave, connections)
        self._stopped = True
        self._pool.shutdown(wait=False)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do blocking work in one of the hub's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def count_of(self, user_id: UUID) -> int:
        """Return how many sockets of this process are the user's."""
        return sum(1 for socket in self._sockets.values() if socket.identity.user_id == user_id)

    async def attach(self, socket: Socket) -> int:
        """Put the socket on the list; return the number after which it is handed every event of its audiences.

        A consultant counts as online when this returns, and not a moment before: whoever is told that they are online
        writes an event this socket gets.
        """
        async with self._attaching:
            if self._position is None:
                self._position = await self.run(events.position)
            self._sockets[socket.id] = socket
            for audience in socket.audiences:
                self._audiences.setdefault(audience, set()).add(socket)
            start = self._position
        if socket.identity.consultant_id is not None:
            await self.run(presence.refresh, {socket.id: socket.identity.consultant_id})
        return start

    async def detach(self, socket: Socket, *, broken: bool = False) -> None:
        """Take the socket off the list; its consultant is offline when it was the last, a moment later if it broke off."""
        self._sockets.pop(socket.id, None)
        for audience in socket.audiences:
            self._audiences.get(audience, set()).discard(socket)
            if not self._audiences.get(audience):
                self._audiences.pop(audience, None)
        if socket.identity.consultant_id is not None and not self._stopped:
            await self.run(presence.lapse if broken else presence.leave, [socket.id])

    def add_receipts(self, receipts: Iterable[Receipt]) -> None:
        """Note what a device received or showed; written within RECEIPT_SECONDS."""
        self._receipts.extend(receipts)

    async def _read_forever(self) -> None:
        while True:
            poll = POLL_SECONDS if self._subscribed else POLL_ALONE_SECONDS
            try:
                async with asyncio.timeout(poll):
                    await self._wake.wait()
            except TimeoutError:
                # Nobody said anything; looking anyway is what makes hints dispensable.
                pass
            self._wake.clear()
            await self._read()

    async def _read(self) -> None:
        while self._position is not None:
            if not self._sockets:
                async with self._attaching:
                    if not self._sockets:
                        self._position = None
                        return
            found = await self.run(events.news, self._position)
            # Without a wait from here on: a socket is attached before all of these or after all of them.
            for event in found:
                self._hand_out(event)
                self._position = event.seq
            if len(found) < events.PAGE:
                return

    def _hand_out(self, event: Told) -> None:
        listening = self._audiences.get(event.audience)
        if not listening:
            return
        # Each language's frame is made once, however many listen.
        texts: dict[str | None, str] = {}
        for socket in listening:
            if event.recipients is None or socket.identity.consultant_id in event.recipients:
                text = texts.get(socket.locale) or texts.setdefault(socket.locale, frame(event, socket.locale))
                socket.offer(event.seq, text)

    async def _subscribe(self) -> None:
        url = get_settings().require_redis_url()
        client = Redis.from_url(url, socket_connect_timeout=1.0, health_check_interval=10)
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(fanout.EVENTS_CHANNEL, fanout.FRAMES_CHANNEL, fanout.SESSIONS_CHANNEL)
                self._subscribed = True
                self._wake.set()
                while True:
                    message = await subscription.get_message(timeout=5.0)
                    if message is not None:
                        self._hear(message["channel"].decode(), message["data"])
        except (RedisError, OSError) as error:
            log.warning(log_events.FANOUT_LOST, error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._subscribed = False
            await client.aclose()

    def _hear(self, channel: str, data: bytes) -> None:
        if channel == fanout.EVENTS_CHANNEL:
            self._wake.set()
            return
        said = orjson.loads(data)
        if channel == fanout.SESSIONS_CHANNEL:
            for socket in self._sockets.values():
                if str(socket.identity.session_id) == said["session_id"]:
                    socket.end(ENDED, "the session has ended")
            return
        text = orjson.dumps({"id": None, "type": said["type"], "data": said["data"]}).decode()
        for socket in self._audiences.get(said["audience"], ()):
            socket.offer(None, text)

    async def _refresh(self) -> None:
        """Keep this process's consultants present with one statement, and end the sockets whose session ended unheard."""
        while True:
            await asyncio.sleep(presence.REFRESH_SECONDS)
            connections = self._connections()
            if connections:
                await self.run(presence.refresh, connections)
                # Who left while that ran would be back until it expires.
                gone = [one for one in connections if one not in self._sockets]
                if gone:
                    await self.run(presence.lapse, gone)
            asked = list(self._sockets.values())
            if not asked:
                continue
            there = await self.run(auth.still_signed_in, [socket.identity.session_id for socket in asked])
            for socket in asked:
                now = there.get(socket.identity.session_id)
                if now is None or not now.may(socket.permission):
                    socket.end(ENDED, "the session has ended")

    def _connections(self) -> dict[UUID, UUID]:
        return {
            socket.id: socket.identity.consultant_id
            for socket in self._sockets.values()
            if socket.identity.consultant_id is not None
        }

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            for socket in self._sockets.values():
                socket.ping(self._position)

    async def _write_receipts(self) -> None:
        while True:
            await asyncio.sleep(RECEIPT_SECONDS)
            if self._receipts:
                receipts, self._receipts = self._receipts, []
                await self.run(presence.record_receipts, receipts)


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    """Run the work again whenever it ends or fails: a database that was away must not silence this process for good."""
    while True:
        started = time.monotonic()
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - this is the edge: the failure is recorded and the work goes on
            log.error(log_events.SOCKET_HUB_FAILED, what=work.__name__, error=repr(error))
        if time.monotonic() - started < RETRY_SECONDS:
            await asyncio.sleep(RETRY_SECONDS)
