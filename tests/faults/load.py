"""The signup service under faults: signed registrations at a rate, each repeated under its webhook-id until accepted."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook

GIVE_UP_SECONDS = 60.0


@dataclass
class Sent:
    """What was answered: journeys by customer, and how often something had to be sent again."""

    journeys: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    given_up: list[str] = field(default_factory=list)


def send(url: str, secret: str, *, count: int, per_second: float) -> Sent:
    """Send `count` registrations, open loop, and return what was answered."""
    return asyncio.run(_send_all(url, secret, count, per_second))


async def _send_all(url: str, secret: str, count: int, per_second: float) -> Sent:
    sent = Sent()
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
    async with httpx.AsyncClient(timeout=10, limits=limits, trust_env=False) as client:
        began = time.monotonic()
        running = []
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            running.append(asyncio.create_task(_send_one(client, url, Webhook(secret), number, sent)))
        await asyncio.gather(*running)
    return sent


async def _send_one(client: httpx.AsyncClient, url: str, webhook: Webhook, number: int, sent: Sent) -> None:
    user_id, message_id = f"customer-{number}", f"msg-{number}"
    data = {"user_id": user_id, "username": f"客户{number}", "locale": "zh-CN", "interests": ["skin"]}
    body = json.dumps({"type": "user.registered", "data": data}, ensure_ascii=False)
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < give_up_at:
        now = datetime.now(UTC)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": webhook.sign(message_id, now, body),
        }
        try:
            answer = await client.post(f"{url}/hooks/registrations", content=body.encode(), headers=headers)
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code == 202:
            sent.journeys[user_id] = answer.json()["data"]["journey_id"]
            return
        sent.repeats += 1
        await asyncio.sleep(0.3)
    sent.given_up.append(user_id)
