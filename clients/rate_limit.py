"""A limit shared by all processes: so many in each second, counted in Redis."""

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


class RateLimit:
    """Counts per second under a name. Without Redis nothing is refused: an intake that is open is worth more than a limit."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._redis: Redis | None = None
        self._paused_until = 0.0

    async def check(self, limit_per_second: int) -> None:
        """Count one call; raise RateLimitedError when this second already had as many as the limit."""
        now = time.time()
        if time.monotonic() < self._paused_until:
            return
        key = f"anmei:rate:{self._name}:{int(now)}"
        try:
            async with self._client().pipeline(transaction=False) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, 3)
                count = int((await pipeline.execute())[0])
        except (RedisError, OSError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("rate_limit_not_enforced", name=self._name, error=type(error).__name__)
            return
        if count > limit_per_second:
            raise RateLimitedError(f"more than {limit_per_second} calls in this second", retry_after_seconds=1)

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
