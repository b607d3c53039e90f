"""Customers whose facts tell them apart, and sending their registrations at a rate."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from simulators.signup.client import SignupService
from tests.gateway_proof.stack import ProofStack

# No syllable of a name begins another one's, so no name is found inside two others that stand side by side.
FIRST = "赵钱孙李周吴郑王冯陈"
SECOND = "梅兰竹菊荷莲桂杏桃梨"
THIRD = "一二三四五六七八九十"
FOURTH = "春夏秋冬晨暮霜雪雨晴"
SOURCES = ("门店海报", "直播间", "老客户介绍", "电台广告", "会员日活动", "商场专柜", "地铁屏", "周年庆典")
INTERESTS = (
    "淡化细纹", "紧致提拉", "毛孔护理", "祛痘修护", "眼周护理", "唇部护理", "颈部护理", "手部护理", "头皮护理", "晒后修护", "敏感肌护理",
)  # fmt: skip
_numbers = count()


@dataclass(frozen=True)
class Person:
    """One customer as the signup service tells of them."""

    user_id: str
    username: str
    source: str
    interests: tuple[str, ...]
    locale: str = "zh-CN"

    @property
    def facts(self) -> tuple[str, ...]:
        return (self.username, self.source, *self.interests)

    def event(self) -> dict[str, object]:
        data = {
            "user_id": self.user_id,
            "username": self.username,
            "source": self.source,
            "interests": list(self.interests),
            "locale": self.locale,
        }
        return {"type": "user.registered", "data": data}


def people(number: int) -> list[Person]:
    """Return so many new customers, each with a name nobody else of this process has (up to ten thousand)."""
    return [_person(next(_numbers)) for _ in range(number)]


def _person(number: int) -> Person:
    digits = [number // 10**place % 10 for place in range(4)]
    name = "".join(letters[digit] for letters, digit in zip((FIRST, SECOND, THIRD, FOURTH), digits, strict=True))
    first = number % len(INTERESTS)
    interests = (INTERESTS[first], INTERESTS[(first + 1 + number // len(INTERESTS) % 5) % len(INTERESTS)])
    return Person(f"proof-{number}", name, SOURCES[number % len(SOURCES)], interests)


def register(stack: ProofStack, customers: Sequence[Person], *, per_second: float) -> None:
    """Send the registrations, open loop; raises AssertionError unless every one is accepted."""
    asyncio.run(_register(stack, customers, per_second))


async def _register(stack: ProofStack, customers: Sequence[Person], per_second: float) -> None:
    refused = []
    async with SignupService(f"{stack.api_url}/hooks/registrations", stack.webhook_secret, concurrency=64) as service:
        events = [customer.event() for customer in customers]
        async for answer in service.send_all(events, rate_per_second=per_second):
            if not answer.accepted:
                refused.append(answer)
    assert not refused, f"{len(refused)} registrations were refused, the first: {refused[0]}"
