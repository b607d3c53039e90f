"""Calls of other people's libraries, bounded: by a deadline whatever the library waits for, and by how much they may read."""

import io
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import requests
import requests.adapters
import urllib3

from clients.address_guard import Guard, guarded_by, is_guarded

T = TypeVar("T")

# Calls of this process at once, those included that nobody waits for any more: a thread in a name server's or a sleep's hands
# ends when that lets go of it.
CALLS_AT_ONCE = 32
# A call whose connections were cut ends by itself, and gives its place and its memory back.
GRACE_SECONDS = 0.25
# Of an answer's body a service reads an error's text or an id.
BODY_MAX_BYTES = 256 * 1024

_places = threading.BoundedSemaphore(CALLS_AT_ONCE)


def call(work: Callable[[], T], guard: Guard, *, seconds: float) -> T:
    """Do the work in a thread of its own, under the guard, and return what it returns.

    Raises TimeoutError when it has not ended within `seconds`, or found no place to begin, or raised something: the connections it
    opened are cut then, further ones are refused, and nobody waits for it any more.
    """
    until = time.monotonic() + seconds
    if not _places.acquire(timeout=max(seconds, 0.0)):
        raise TimeoutError("too many calls hang already")
    results: list[T] = []
    # A daemon: a process that is to stop does not wait for it.
    thread = threading.Thread(target=_work, args=(work, guard, results), name="bounded-call", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # Nobody else gives the place back when no thread could be had.
        _places.release()
        raise TimeoutError("no thread to begin in") from None
    thread.join(max(until - time.monotonic(), 0.0))
    if thread.is_alive():
        guard.cut()
        thread.join(GRACE_SECONDS)
        raise TimeoutError("the call took too long")
    if not results:
        raise TimeoutError("the call broke off")
    return results[0]


def _work(work: Callable[[], T], guard: Guard, results: list[T]) -> None:
    try:
        with guarded_by(guard):
            results.append(work())
    finally:
        _places.release()


class BoundedAdapter(requests.adapters.HTTPAdapter):
    """The transport of `requests`; under a guard it reads no more of an answer than `most_bytes`, unpacked, and hangs up."""

    most_bytes = BODY_MAX_BYTES

    def send(self, *args: Any, **options: Any) -> requests.Response:
        answer = super().send(*args, **options)
        if is_guarded():
            whole = answer.raw
            try:
                body = whole.read(self.most_bytes, decode_content=True) if self.most_bytes else b""
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise requests.ConnectionError(type(error).__name__) from None
            finally:
                whole.close()
            answer.raw = _Body(body, getattr(whole, "_original_response", None))
        return answer


class StatusAdapter(BoundedAdapter):
    """Hangs up after the head: for those to whom nothing counts but the status."""

    most_bytes = 0


class _Body(io.BytesIO):
    """A body that was read; with the head, from which `requests` takes its cookies."""

    def __init__(self, body: bytes, original: object) -> None:
        super().__init__(body)
        self._original_response = original


def bound_requests() -> None:
    """Have every session of `requests` use BoundedAdapter: services make their own, and read whatever comes. Idempotent."""
    vars(requests.sessions)["HTTPAdapter"] = BoundedAdapter
