"""One whole product, watched: traces collected, everybody's personal data known, for all tests of this folder."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest
from standardwebhooks import Webhook

from tests.launcher.stack import Stack
from tests.operation.collector import Collector, collecting
from tests.support.waiting import START_SECONDS, wait_until

CUSTOMERS = 24
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True)
class Person:
    """A customer with data that must appear nowhere."""

    number: int

    @property
    def data(self) -> dict[str, Any]:
        return {
            "user_id": f"u-{7000 + self.number}",
            "username": f"慕容云舒{self.number:03d}",
            "phone": f"+861391234{self.number:04d}",
            "email": f"seeded.person{self.number}@private.example",
            "locale": "zh-CN",
            "source": "wechat",
            "interests": ["skin"],
        }

    @property
    def private(self) -> list[str]:
        phone = self.data["phone"]
        return [self.data["username"], phone, phone.removeprefix("+86"), self.data["email"]]


@dataclass(frozen=True)
class Product:
    stack: Stack
    collector: Collector
    people: list[Person]
    # Of the journeys begun; the duplicates' answers named the same.
    journeys: set[str]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.described["database_url"], autocommit=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """`anmei up` with traces on, after all customers were served: some twice, all at once, so that they share messages."""
    people = [Person(number) for number in range(CUSTOMERS)]
    with collecting() as collector:
        stack = Stack(
            tmp_path_factory.mktemp("product") / "data",
            api_port=18300,
            ANMEI_MCP_PORT=18301,
            ANMEI_FLOWER_PORT=15855,
            ANMEI_METRICS_PORT=19908,
            ANMEI_LOG_LEVEL="DEBUG",
            ANMEI_LOG_FORMAT="json",
            ANMEI_OTLP_ENDPOINT=collector.url,
        )
        with stack.launcher:
            stack.launcher.wait_for_output("everything is up", timeout_seconds=START_SECONDS)
            described = stack.described
            answers = asyncio.run(_send(described["api_url"], described["webhook_secret"], people))
            found = Product(stack, collector, people, {one["journey_id"] for one in answers})
            wait_until(
                lambda: found.rows("SELECT count(*) FROM journeys WHERE status = 'succeeded'")[0][0] == CUSTOMERS,
                timeout_seconds=60,
                poll_seconds=0.2,
            )
            yield found


async def _send(url: str, secret: str, people: list[Person]) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        # The first four come a second time, under another id.
        return await asyncio.gather(
            *(
                _register(client, url, secret, person, f"msg-{place}")
                for place, person in enumerate(people + people[:4])
            )
        )


async def _register(
    client: httpx.AsyncClient, url: str, secret: str, person: Person, message_id: str
) -> dict[str, Any]:
    body = json.dumps({"type": "user.registered", "data": person.data}, ensure_ascii=False)
    now = datetime.now(UTC)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
        "traceparent": TRACEPARENT,
    }
    answer = await client.post(f"{url}/hooks/registrations", content=body.encode(), headers=headers)
    assert answer.status_code == 202, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data
