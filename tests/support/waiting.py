"""Waiting for a condition with a bound, in place of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# A process of ours is up in seconds; on a slow machine that does much else it takes a minute and more.
START_SECONDS = 150.0


def wait_until(predicate: Callable[[], T], *, timeout_seconds: float = 10, poll_seconds: float = 0.02) -> T:
    """Return the predicate's first true value; fail with its last value when there was none in time."""
    deadline = time.monotonic() + timeout_seconds
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds} s: last value {value!r} of {_name(predicate)}")
        time.sleep(poll_seconds)
    return value


async def wait_until_async(
    predicate: Callable[[], T | Awaitable[T]], *, timeout_seconds: float = 10, poll_seconds: float = 0.02
) -> T:
    """Like `wait_until`, without blocking the event loop; the predicate may be a coroutine function."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = predicate()
        value = await answer if isinstance(answer, Awaitable) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds} s: last value {value!r} of {_name(predicate)}")
        await asyncio.sleep(poll_seconds)


def _name(predicate: Callable[..., object]) -> str:
    code = getattr(predicate, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(predicate)
