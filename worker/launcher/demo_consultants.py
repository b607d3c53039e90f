"""Two of the demo's consultants at their desks: signed in, on the socket, confirming what they are told."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import httpx
import websockets
from pydantic import SecretStr

from worker.launcher.errors import LaunchError

TIMEOUT_SECONDS = 15


class DemoConsultants:
    """Consultants on `/ws/consultants` while inside the context; outside of it they are told by push."""

    def __init__(self, api_url: str, passwords: Mapping[str, SecretStr], present: Sequence[str]) -> None:
        self._api_url = api_url
        self._passwords = passwords
        self._present = present
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = asyncio.Condition()
        self.told: Counter[str] = Counter()

    async def __aenter__(self) -> "DemoConsultants":
        connected = [asyncio.Event() for _ in self._present]
        for name, event in zip(self._present, connected, strict=True):
            token = await self._sign_in(name)
            self._tasks.append(asyncio.create_task(self._listen(name, token, event)))
        waits = asyncio.gather(*(event.wait() for event in connected))
        try:
            await asyncio.wait_for(waits, TIMEOUT_SECONDS)
        except TimeoutError:
            await self.__aexit__()
            raise LaunchError(f"{self._api_url}/ws/consultants lets the consultants not in") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def heard_of(self, name: str, count: int) -> None:
        """Return once this consultant was told of so many new customers."""
        async with self._heard:
            await self._heard.wait_for(lambda: self.told[name] >= count)

    async def _sign_in(self, name: str) -> str:
        credentials = {"username": name, "password": self._passwords[name].get_secret_value()}
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await client.post(f"{self._api_url}/api/v1/auth/login", json=credentials)
        if not answer.is_success:
            raise LaunchError(f"the consultant {name} cannot sign in: {answer.status_code} {answer.text[:200]}")
        return str(answer.json()["data"]["access_token"])

    async def _listen(self, name: str, token: str, connected: asyncio.Event) -> None:
        url = self._api_url.replace("http", "ws", 1) + "/ws/consultants"
        headers = {"Authorization": f"Bearer {token}"}
        async with websockets.connect(url, additional_headers=headers, proxy=None) as socket:
            async for text in socket:
                frame = json.loads(text)
                connected.set()
                if frame["type"] == "new_customer":
                    async with self._heard:
                        self.told[name] += 1
                        self._heard.notify_all()
                    received = {"type": "received", "data": {"ids": [frame["id"]]}}
                    with contextlib.suppress(websockets.ConnectionClosed):
                        await socket.send(json.dumps(received))
