"""Open streams: ended when their key stops being valid, told when their list of tools changed."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import anyio
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged

from core import log_events
from core.logging import get_logger
from mcp_server.calls import Caller
from mcp_server.catalogue import Catalogue

Tell = Callable[[], Awaitable[None]]

log = get_logger(__name__)


class OpenStreams:
    """The streams of one process. Used on its event loop only."""

    def __init__(self) -> None:
        self._open: dict[anyio.CancelScope, Caller] = {}
        self._told: dict[UUID, set[Tell]] = {}
        self._buses: dict[UUID, InMemorySubscriptionBus] = {}
        self._listeners: dict[UUID, ListenHandler] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, caller: Caller) -> Iterator[anyio.CancelScope]:
        """Keep a stream of this caller; it is cancelled when the key stops being valid."""
        with anyio.CancelScope() as scope:
            self._open[scope] = caller
            try:
                yield scope
            finally:
                self._open.pop(scope, None)

    def listener(self, group_id: UUID) -> ListenHandler:
        """Return the handler of `subscriptions/listen` for a group: its streams hear of that group's changes only."""
        if group_id not in self._listeners:
            self._buses[group_id] = InMemorySubscriptionBus()
            self._listeners[group_id] = ListenHandler(self._buses[group_id])
        return self._listeners[group_id]

    @contextmanager
    def telling(self, group_id: UUID, tell: Tell) -> Iterator[None]:
        """Call `tell` whenever the group's list changes, as long as the context lasts."""
        told = self._told.setdefault(group_id, set())
        told.add(tell)
        try:
            yield
        finally:
            told.discard(tell)

    async def follow(self, before: Catalogue, after: Catalogue) -> None:
        """End the streams whose key is no longer valid, and announce changed lists to those that stay."""
        for group_id, view in after.groups.items():
            old = before.groups.get(group_id)
            if old is not None and old.fingerprint != view.fingerprint:
                await self._announce(group_id)
        self.end_closed(after)

    def end_closed(self, catalogue: Catalogue) -> None:
        """End the streams whose key was replaced, deleted or expired, or whose group is disabled."""
        closed = [
            scope
            for scope, caller in self._open.items()
            if not catalogue.is_open(caller.group.id, caller.group.key_hash)
        ]
        for scope in closed:
            scope.cancel()
        if closed:
            log.info(log_events.MCP_STREAMS_ENDED, streams=len(closed))

    def end_all(self) -> None:
        """End every stream; used when the process stops, which would otherwise wait for them."""
        for listener in self._listeners.values():
            listener.close()
        for scope in list(self._open):
            scope.cancel()

    async def _announce(self, group_id: UUID) -> None:
        if group_id in self._buses:
            await self._buses[group_id].publish(ToolsListChanged())
        for tell in list(self._told.get(group_id, ())):
            await _quietly(tell)


async def _quietly(send: Tell) -> None:
    # A client that just left cannot be told; its stream is taken down elsewhere.
    with anyio.move_on_after(1):
        try:
            await send()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
