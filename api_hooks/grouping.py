"""Doing for many what many ask for at once: group commit that waits for company only where there is no time to spare."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Grouper(Generic[Item, Result]):
    """Hands items to `work` in groups, one group at a time, in a thread.

    An item that finds nobody at work goes at once and alone; those that come while a group is at work, and for as long after
    it as `rest_seconds` says, form the next one. So the more come, the more share the cost.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Result]], *, most: int, rest_seconds: Callable[[], float]
    ) -> None:
        self._work = work
        self._most = most
        self._rest_seconds = rest_seconds
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    async def submit(self, item: Item) -> Result:
        """Return the item's result; raise what its group's work raised."""
        return await self.enqueue(item)

    def enqueue(self, item: Item) -> "asyncio.Future[Result]":
        """Queue the item and return at once; the future holds its result."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return future

    async def drain(self) -> None:
        """Wait until everything submitted so far is done; from now on nothing waits for company."""
        self._hurry.set()
        while self._runner is not None and not self._runner.done():
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            await self._do(group)
            # Answered first: what gathers now has nobody to wait for but itself.
            await self._rest()

    async def _do(self, group: "list[tuple[Item, asyncio.Future[Result]]]") -> None:
        try:
            results = await asyncio.to_thread(self._work, [item for item, _ in group])
        except Exception as error:  # noqa: BLE001 - handed to every caller of the group, who raises it
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _rest(self) -> None:
        seconds = self._rest_seconds()
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._hurry.wait()
