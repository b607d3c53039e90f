"""A limit shared by all processes: so many in each second, counted in Redis."""

import asyncio
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.errors import RateLimitedError
from core.logging import get_logger
from core.settings import get_settings

log = get_logger(__name__)

ANSWER_SECONDS = 0.5
# After a failure the limit is not asked for this long: a Redis that hangs must not slow every request down.
PAUSE_SECONDS = 5.0


# Permits are taken a hundredth of the limit at a time, so that not every call asks Redis.
BLOCKS_A_SECOND = 100


class RateLimit:
    """Counts per second under a name. Without Redis nothing is refused: an intake that is open is worth more than a limit.

    Never lets more through than the limit. With several processes it may refuse up to a hundredth of it early for each
    process but one, whose block another has not used up. For one event loop.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._redis: Redis | None = None
        self._paused_until = 0.0
        # The second that permits were last taken for, how many of them are left, and whether there were no more to take.
        self._second = 0
        self._permits = 0
        self._exhausted = False
        self._asking = asyncio.Lock()

    async def check(self, limit_per_second: int) -> None:
        """Count one call; raise RateLimitedError when this second already had as many as the limit."""
        if time.monotonic() < self._paused_until or self._take_permit():
            return
        async with self._asking:
            # Somebody else may have asked while this waited, and the second may end while this asks.
            while not self._take_permit():
                if self._exhausted:
                    raise RateLimitedError(f"more than {limit_per_second} calls in this second", retry_after_seconds=1)
                await self._ask(limit_per_second)
                if time.monotonic() < self._paused_until:
                    return

    def _take_permit(self) -> bool:
        second = int(time.time())
        if second != self._second:
            self._second, self._permits, self._exhausted = second, 0, False
        if self._permits == 0:
            return False
        self._permits -= 1
        return True

    async def _ask(self, limit_per_second: int) -> None:
        second, block = self._second, max(1, limit_per_second // BLOCKS_A_SECOND)
        key = f"anmei:rate:{self._name}:{second}"
        try:
            async with self._client().pipeline(transaction=False) as pipeline:
                pipeline.incrby(key, block)
                pipeline.expire(key, 3)
                taken = int((await pipeline.execute())[0])
        except (RedisError, OSError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("rate_limit_not_enforced", name=self._name, error=type(error).__name__)
            return
        if second != self._second:
            # The second is over, and what was taken of it with it.
            return
        self._permits = max(0, block - max(0, taken - limit_per_second))
        self._exhausted = taken >= limit_per_second

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    def _client(self) -> Redis:
        if self._redis is None:
            self._redis = Redis.from_url(
                get_settings().require_redis_url(),
                socket_timeout=ANSWER_SECONDS,
                socket_connect_timeout=ANSWER_SECONDS,
            )
        return self._redis
