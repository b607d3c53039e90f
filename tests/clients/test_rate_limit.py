"""The intake's limit: shared by processes, never exceeded, anew in each second, and open where Redis is away."""

import asyncio

import pytest

from clients import rate_limit
from clients.rate_limit import RateLimit
from core.errors import RateLimitedError
from core.ids import new_id


class Clock:
    """The wall clock as the limit sees it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    @staticmethod
    def monotonic() -> float:
        return 1.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_limit, "time", clock)
    return clock


async def admitted(limits: list[RateLimit], calls: int, limit_per_second: int) -> int:
    """Return how many of the calls, made side by side and spread over the limits, were let through."""

    async def let_through(number: int) -> bool:
        try:
            await limits[number % len(limits)].check(limit_per_second)
        except RateLimitedError:
            return False
        return True

    return sum(await asyncio.gather(*(let_through(number) for number in range(calls))))


@pytest.mark.parametrize("limit", [1, 7, 250])
def test_one_process_lets_exactly_the_limit_through(servers: object, clock: Clock, limit: int) -> None:
    async def run() -> int:
        one = RateLimit(str(new_id()))
        through = await admitted([one], 3 * limit, limit)
        await one.close()
        return through

    assert asyncio.run(run()) == limit


def test_three_processes_together_never_exceed_the_limit_and_miss_a_block_at_most(
    servers: object, clock: Clock
) -> None:
    async def run() -> int:
        name = str(new_id())
        limits = [RateLimit(name) for _ in range(3)]
        through = await admitted(limits, 1200, 300)
        for one in limits:
            await one.close()
        return through

    assert 300 - 2 * 3 <= asyncio.run(run()) <= 300


def test_the_next_second_begins_anew(servers: object, clock: Clock) -> None:
    async def run() -> list[int]:
        one = RateLimit(str(new_id()))
        counts = [await admitted([one], 10, 5)]
        clock.now += 1
        counts.append(await admitted([one], 10, 5))
        await one.close()
        return counts

    assert asyncio.run(run()) == [5, 5]


def test_without_redis_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Settings:
        @staticmethod
        def require_redis_url() -> str:
            return "redis://127.0.0.1:1/0"

    monkeypatch.setattr(rate_limit, "get_settings", Settings)

    async def run() -> int:
        one = RateLimit("away")
        through = await admitted([one], 20, 1)
        await one.close()
        return through

    assert asyncio.run(run()) == 20


def test_an_answer_for_a_second_that_is_over_says_nothing_of_the_next(servers: object, clock: Clock) -> None:
    class Slow(RateLimit):
        """The second ends while the first answer is on its way."""

        async def _ask(self, limit_per_second: int) -> None:
            await super()._ask(limit_per_second)
            if not self._moved:
                self._moved = True
                clock.now += 1
                self._take_permit()

        _moved = False

    async def run() -> int:
        name = str(new_id())
        other = RateLimit(name)
        await admitted([other], 2, 2)
        one = Slow(name)
        through = await admitted([one], 5, 2)
        await one.close()
        await other.close()
        return through

    assert asyncio.run(run()) == 2
