"""The fault suite's stack with a second API process, consultants who are signed in, and registrations at a rate."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from bench.processes import answers, free_port
from simulators.signup.client import SignupService
from tests.consultants_proof.seed import FILE
from tests.faults.processes import Role
from tests.faults.run import BROKERS
from tests.faults.stack import Stack
from tests.support.waiting import START_SECONDS, wait_until, wait_until_async

SETTLE_SECONDS = 120.0
POLL_SECONDS = 0.2
OPEN = "SELECT count(*) FROM journeys WHERE status IN ('accepted', 'running')"
_numbers = count()


@dataclass(frozen=True)
class Consultant:
    """Somebody who is signed in."""

    name: str
    consultant_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


# What a consultant has: {"channels": [{"kind", "url"}], "is_supervisor"}. Told the receiver's address, as it is chosen late.
Wanted = Callable[[str], Sequence[dict[str, Any]]]


class ConsultantStack(Stack):
    """One stack with two API processes. `settings` are laid over the automation's."""

    def __init__(self, wanted: Wanted, *, settings: dict[str, Any] | None = None) -> None:
        factory: object = BROKERS["redis"]
        super().__init__(factory)
        self._wanted = wanted
        self._settings = settings or {}
        self.second_api_port = free_port()
        self.consultants: list[Consultant] = []
        self.webpush_key = ""

    def __enter__(self) -> Self:
        super().__enter__()
        wait_until(lambda: all(answers(f"{url}/readyz") for url in self.api_urls), timeout_seconds=START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is None:
            # What failed is kept for whoever looks into it.
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def api_urls(self) -> tuple[str, str]:
        return (f"http://127.0.0.1:{self.api_port}", f"http://127.0.0.1:{self.second_api_port}")

    @property
    def push_url(self) -> str:
        return f"http://127.0.0.1:{self.push_port}"

    def receiver(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the receiver's own endpoints."""
        answer = httpx.request(method, f"{self.push_url}/__sim__/{path}", json=body, timeout=60)
        return answer.raise_for_status().json()

    def register(self, number: int, *, per_second: float) -> None:
        """Send so many registrations, open loop; raises AssertionError unless every one is accepted."""
        asyncio.run(self.registered(number, per_second=per_second))

    async def registered(self, number: int, *, per_second: float) -> None:
        """Like `register`, beside what else the loop does; the first API process takes them."""
        events = [_event(next(_numbers)) for _ in range(number)]
        refused = []
        url = f"{self.api_urls[0]}/hooks/registrations"
        async with SignupService(url, self.webhook_secret, concurrency=64) as service:
            async for answer in service.send_all(events, rate_per_second=per_second):
                if not answer.accepted:
                    refused.append(answer)
        assert not refused, f"{len(refused)} registrations were refused, the first: {refused[0]}"

    async def reaches(self, sql: str, least: float, *, timeout_seconds: float) -> None:
        """Wait until the figure is at least so high, without blocking the loop."""

        def there() -> bool | Awaitable[bool]:
            return asyncio.to_thread(lambda: self.number(sql) >= least)

        await wait_until_async(there, timeout_seconds=timeout_seconds, poll_seconds=POLL_SECONDS)

    def settle(self) -> None:
        """Wait until no journey is open any more."""
        wait_until(lambda: self.scalar(OPEN) == 0, timeout_seconds=SETTLE_SECONDS, poll_seconds=0.1)

    def number(self, sql: str) -> float:
        """Return one figure, 0 for none."""
        return float(str(self.scalar(sql) or 0))

    def _roles(self) -> list[Role]:
        second = self._role("api2", ("-m", "worker.cli", "api"), ANMEI_API_PORT=str(self.second_api_port))
        return [*super()._roles(), second]

    def _seed(self) -> None:
        super()._seed()
        options = {"consultants": list(self._wanted(self.push_url)), "settings": self._settings}
        self._run("-m", "tests.consultants_proof.seed", json.dumps(options))
        said = json.loads((self.folder / FILE).read_text())
        self.webpush_key = said["webpush_key"]
        self.consultants = [Consultant(**one) for one in said["consultants"]]


def _event(number: int) -> dict[str, Any]:
    data = {
        "user_id": f"proof-{uuid4().hex[:8]}-{number}",
        "username": f"小美 {number}",
        "source": "直播间",
        "interests": ["淡化细纹"],
        "locale": "zh-CN",
    }
    return {"type": "user.registered", "data": data}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
