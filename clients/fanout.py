"""From any process to the sockets of every API process, through Redis: hints that there are events, and passing frames.

Best effort both: events are rows in PostgreSQL, and whoever waits for them also looks without being told.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import RedisError

from core import log_events
from core.logging import get_logger
from core.settings import get_settings

# Redis channels are shared by all its databases, so the name says whose these are.
EVENTS_CHANNEL = "anmei:events"
FRAMES_CHANNEL = "anmei:frames"
SESSIONS_CHANNEL = "anmei:sessions"

ANSWER_SECONDS = 0.5
# After a failure nothing is published for this long: a Redis that hangs must not slow every task down.
PAUSE_SECONDS = 1.0

log = get_logger(__name__)
_paused_until = 0.0


def announce() -> None:
    """Say that events were committed. Call after the commit; never raises, as a lost hint costs a second at most."""
    publish(EVENTS_CHANNEL, {})


def publish_frame(audience: str, kind: str, data: Mapping[str, Any]) -> None:
    """Send a frame that is not recorded (`message_delta`) to the audience's open sockets. Never raises."""
    publish(FRAMES_CHANNEL, {"audience": audience, "type": kind, "data": data})


def announce_session_end(session_id: str) -> None:
    """Ask every API process to close this sign-in's sockets at once. Never raises; without it they notice in seconds."""
    publish(SESSIONS_CHANNEL, {"session_id": session_id})


def publish(channel: str, payload: Mapping[str, Any]) -> None:
    """Publish JSON on a channel, best effort: a failure is logged, and nothing is tried again for a moment."""
    global _paused_until
    if time.monotonic() < _paused_until:
        return
    try:
        _client().publish(channel, orjson.dumps(payload))
    except (RedisError, OSError) as error:
        _paused_until = time.monotonic() + PAUSE_SECONDS
        log.warning(log_events.PUBLISH_FAILED, what="fanout", channel=channel, error=type(error).__name__)


@lru_cache(maxsize=1)
def _client() -> Redis:
    # redis-py's pool notices a fork and opens connections of the child's own.
    return Redis.from_url(
        get_settings().require_redis_url(), socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
    )
