"""How often a key may call a tool: counted in Redis for all processes together, in blocks so that most calls ask nobody."""

import time
from dataclasses import dataclass
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from core import log_events
from core.logging import get_logger

WINDOW_SECONDS = 60
# A process takes this share of the limit at a time. What it took and did not use is lost to the others until the window
# ends, so this is also how far the limit may fall short with several processes; it is never exceeded.
BLOCK_SHARE = 0.01
REDIS_TIMEOUT_SECONDS = 0.25

log = get_logger(__name__)


class Verdict(NamedTuple):
    allowed: bool
    retry_after_seconds: int


@dataclass(slots=True)
class _Held:
    window: int
    left: int
    exhausted: bool = False


class RateLimiter:
    """Fixed windows of a minute. While Redis is away each process counts for itself."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Redis = Redis.from_url(
            redis_url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
        )
        self._held: dict[tuple[str, str], _Held] = {}

    async def take(self, key_id: str, tool: str, limit: int) -> Verdict:
        """Count one call of a known tool against the key's limit a minute; a limit of 0 is none."""
        if limit == 0:
            return Verdict(True, 0)
        now = time.time()
        window = int(now // WINDOW_SECONDS)
        held = self._held.get((key_id, tool))
        if held is None or held.window != window:
            held = self._held[(key_id, tool)] = _Held(window, 0)
        if held.left == 0 and not held.exhausted:
            taken = await self._take_block(key_id, tool, window, limit)
            # Others of this process may have taken from the same window meanwhile.
            held.left += taken
            held.exhausted = taken == 0
        if held.left == 0:
            return Verdict(False, max(1, int((window + 1) * WINDOW_SECONDS - now) + 1))
        held.left -= 1
        return Verdict(True, 0)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _take_block(self, key_id: str, tool: str, window: int, limit: int) -> int:
        block = max(1, int(limit * BLOCK_SHARE))
        name = f"anmei:mcp:rate:{key_id}:{tool}:{window}"
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incrby(name, block)
                pipeline.expire(name, WINDOW_SECONDS * 2)
                counted = int((await pipeline.execute())[0])
        except (RedisError, OSError) as error:
            log.warning(log_events.MCP_RATE_LIMIT_LOCAL, error=type(error).__name__)
            return limit
        return max(0, min(block, limit - (counted - block)))
