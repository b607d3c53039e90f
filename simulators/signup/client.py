"""Signs registrations as the Standard Webhooks specification says and sends them, at a rate or as fast as answers come."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

import httpx
from standardwebhooks import Webhook

ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Answer:
    """What one registration was answered. ``status`` is None when nothing came back; ``error`` says why."""

    user_id: str
    webhook_id: str
    status: int | None
    body: Any
    duration_ms: float
    error: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status == ACCEPTED

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class SignupService:
    """Sends to one webhook with one secret. Use as an async context manager."""

    def __init__(self, url: str, secret: str, *, concurrency: int = 8, timeout_seconds: float = 30.0) -> None:
        self._url, self._webhook = url, Webhook(secret)
        self._slots = asyncio.Semaphore(concurrency)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._http = httpx.AsyncClient(timeout=timeout_seconds, limits=limits, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def signed(self, event: dict[str, Any], *, webhook_id: str | None = None) -> tuple[bytes, dict[str, str]]:
        """Return the body and headers of one delivery, signed now."""
        body = json.dumps(event, ensure_ascii=False)
        message_id, now = webhook_id or f"msg_{uuid4().hex}", datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body),
        }
        return body.encode(), headers

    async def send(self, event: dict[str, Any], *, webhook_id: str | None = None) -> Answer:
        """Deliver one event; a failed connection is an answer with ``error``, never raised."""
        async with self._slots:
            body, headers = self.signed(event, webhook_id=webhook_id)
            user_id, started = str(event["data"]["user_id"]), time.perf_counter()
            try:
                response = await self._http.post(self._url, content=body, headers=headers)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                return Answer(user_id, headers["webhook-id"], None, None, _since(started), problem)
            return Answer(user_id, headers["webhook-id"], response.status_code, _content(response), _since(started))

    async def send_all(
        self, events: Iterable[dict[str, Any]], *, rate_per_second: float | None = None
    ) -> AsyncIterator[Answer]:
        """Deliver all events and yield the answers as they come.

        With a rate the sends start on an even clock whatever the answers do (open loop); without one, each free slot
        sends the next (closed loop).
        """
        pending: set[asyncio.Task[Answer]] = set()
        started = asyncio.get_running_loop().time()
        for number, event in enumerate(events):
            if rate_per_second:
                wait = started + number / rate_per_second - asyncio.get_running_loop().time()
                await asyncio.sleep(max(wait, 0))
            elif self._slots.locked() and pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
            pending.add(asyncio.create_task(self.send(event)))
            # Let the new task take its slot before the next is considered.
            await asyncio.sleep(0)
            for task in [task for task in pending if task.done()]:
                pending.discard(task)
                yield task.result()
        for finished in asyncio.as_completed(pending):
            yield await finished


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)


def _content(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text
