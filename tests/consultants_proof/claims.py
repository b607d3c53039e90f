"""Everybody claims the same customer at the same moment: one wins, the others are told who."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from tests.consultants_proof.devices import Device, listening
from tests.consultants_proof.stack import Consultant, ConsultantStack, percentile
from tests.support.waiting import wait_until_async

HEARD_SECONDS = 30.0
REQUEST_SECONDS = 30.0
IDLE_SECONDS = 2.0


@dataclass
class Claims:
    """What the rounds came to. Seconds of an answer run from the request, of a frame from the winner's answer."""

    consultants: int
    rounds: int = 0
    one_winner: int = 0
    told_by_whom: int = 0
    wrong: list[str] = field(default_factory=list)
    winners: Counter[str] = field(default_factory=Counter)
    answer_seconds: list[float] = field(default_factory=list)
    heard_seconds: list[float] = field(default_factory=list)
    recorded: int = 0
    holders: int = 0

    def report(self) -> str:
        head = (
            "| consultants | rounds | rounds with exactly one winner | told by whom (409, the winner's name) | different winners | "
            "claims recorded, conversations held | answer p50 | p99 | everybody's inbox told after p50 | p99 |\n|"
            + " --- |"
            * 10
        )
        return head + (
            f"\n| {self.consultants} | {self.rounds} | {self.one_winner} | {self.told_by_whom} of {self.rounds * (self.consultants - 1)} | "
            f"{len(self.winners)} | {self.recorded}, {self.holders} | {percentile(self.answer_seconds, 0.5) * 1000:.0f} ms | "
            f"{percentile(self.answer_seconds, 0.99) * 1000:.0f} ms | {percentile(self.heard_seconds, 0.5) * 1000:.0f} ms | "
            f"{percentile(self.heard_seconds, 0.99) * 1000:.0f} ms |"
        )

    def problems(self) -> list[str]:
        found = list(self.wrong)
        if self.one_winner != self.rounds:
            found.append(f"{self.rounds - self.one_winner} rounds without exactly one winner")
        if self.told_by_whom != self.rounds * (self.consultants - 1):
            found.append(f"only {self.told_by_whom} losers were told by whom")
        if (self.recorded, self.holders) != (self.rounds, self.rounds):
            found.append(f"{self.recorded} claims and {self.holders} held conversations for {self.rounds} rounds")
        return found


def run(*, consultants: int, rounds: int) -> Claims:
    """Have so many consultants claim each of so many customers at once, half of them at each API process."""
    with ConsultantStack(lambda _: [{}] * consultants) as stack:
        return asyncio.run(runs(stack, rounds=rounds))


async def runs(stack: ConsultantStack, *, rounds: int) -> Claims:
    """The rounds on a stack that is up, with customers of their own."""
    async with listening(stack.consultants, stack.api_urls) as devices:
        await stack.registered(rounds, per_second=20)
        await asyncio.to_thread(stack.settle)
        found = stack.rows(
            "SELECT id::text FROM conversations WHERE claimed_by_id IS NULL ORDER BY id DESC LIMIT " + str(rounds)
        )
        result = Claims(len(stack.consultants))
        # Idle connections are given up before the servers do so: a request on one that just closed would be lost.
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200, keepalive_expiry=IDLE_SECONDS)
        async with httpx.AsyncClient(timeout=REQUEST_SECONDS, limits=limits, trust_env=False) as client:
            for (conversation_id,) in found:
                await _round(stack, client, devices, str(conversation_id), result)
    ids = ", ".join(f"'{one}'" for (one,) in found)
    result.recorded = int(stack.number(f"SELECT count(*) FROM claims WHERE conversation_id IN ({ids})"))
    result.holders = int(stack.number(f"SELECT count(claimed_by_id) FROM conversations WHERE id IN ({ids})"))
    return result


async def _round(
    stack: ConsultantStack, client: httpx.AsyncClient, devices: Sequence[Device], conversation_id: str, result: Claims
) -> None:
    async def claim(number: int, consultant: Consultant) -> tuple[Consultant, httpx.Response, float]:
        url = f"{stack.api_urls[number % 2]}/api/v1/conversations/{conversation_id}/claim"
        began = time.monotonic()
        try:
            answer = await client.post(url, headers=consultant.headers)
        except httpx.RemoteProtocolError:
            # It closed all the same; claiming again is what a client does, and changes nothing where it had won.
            answer = await client.post(url, headers=consultant.headers)
        result.answer_seconds.append(time.monotonic() - began)
        return consultant, answer, time.time()

    # In another order each time: who is asked for first has a head start.
    order = random.sample(stack.consultants, len(stack.consultants))
    answers = await asyncio.gather(*(claim(number, one) for number, one in enumerate(order)))
    result.rounds += 1
    winners = [(who, at) for who, answer, at in answers if answer.status_code == 200]
    if len(winners) != 1:
        result.wrong.append(f"{conversation_id}: {len(winners)} winners")
        return
    result.one_winner += 1
    winner, won_at = winners[0]
    result.winners[winner.name] += 1
    for who, answer, _ in answers:
        if who is winner:
            continue
        said = answer.json()
        if (answer.status_code, said.get("code"), said.get("holder")) == (409, "ALREADY_CLAIMED", winner.name):
            result.told_by_whom += 1
        else:
            result.wrong.append(f"{who.name}: {answer.status_code} {answer.text[:200]}")
    await _heard(devices, conversation_id, winner, won_at, result)


async def _heard(
    devices: Sequence[Device], conversation_id: str, winner: Consultant, won_at: float, result: Claims
) -> None:
    """Wait until every inbox was told, once, who has the customer."""

    def told(device: Device) -> list[tuple[str, float]]:
        frames = device.of("customer_claimed")
        return [
            (one.data["consultant_name"], one.at) for one in frames if one.data["conversation_id"] == conversation_id
        ]

    await wait_until_async(lambda: all(told(device) for device in devices), timeout_seconds=HEARD_SECONDS)
    for device in devices:
        if [name for name, _ in told(device)] != [winner.name]:
            result.wrong.append(f"{device.consultant.name} was told {told(device)}")
        result.heard_seconds += [max(0.0, at - won_at) for _, at in told(device)]
