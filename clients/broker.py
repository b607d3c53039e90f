"""What the broker knows that Celery's workers do not tell: how many messages stand in a queue."""

import threading
from collections.abc import Sequence
from typing import Any

import redis
from kombu import connection as kombu_connection
from kombu.exceptions import OperationalError

from core.errors import BrokerUnavailableError

# A metrics page must not hang on a broker that does not answer.
TIMEOUT_SECONDS = 1.0
# Where kombu keeps messages of other priorities than the highest: the queue's name, these two bytes, and the step.
_PRIORITY_SEPARATOR = "\x06\x16"
_PRIORITY_STEPS = (3, 6, 9)

# kombu has no types.
_Connection: Any = kombu_connection.Connection

_lock = threading.Lock()
_redis_clients: dict[str, redis.Redis] = {}


def queue_lengths(broker_url: str, queues: Sequence[str]) -> dict[str, int]:
    """Return how many messages wait in each queue; a queue that does not exist yet has none.

    Messages a worker has taken but not acknowledged are not counted. Raises BrokerUnavailableError.
    """
    if broker_url.startswith(("amqp://", "amqps://", "pyamqp://")):
        return _amqp_lengths(broker_url, queues)
    return _redis_lengths(broker_url, queues)


def _redis_lengths(broker_url: str, queues: Sequence[str]) -> dict[str, int]:
    keys = [[queue, *(f"{queue}{_PRIORITY_SEPARATOR}{step}" for step in _PRIORITY_STEPS)] for queue in queues]
    try:
        pipe = _redis_client(broker_url).pipeline(transaction=False)
        for key in (key for of_queue in keys for key in of_queue):
            pipe.llen(key)
        lengths = iter(pipe.execute())
    except redis.RedisError as error:
        raise BrokerUnavailableError(f"the broker does not answer: {type(error).__name__}") from error
    return {queue: sum(next(lengths) for _ in of_queue) for queue, of_queue in zip(queues, keys, strict=True)}


def _redis_client(broker_url: str) -> redis.Redis:
    with _lock:
        client = _redis_clients.get(broker_url)
        if client is None:
            client = redis.Redis.from_url(
                redis_url(broker_url), socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
            )
            _redis_clients[broker_url] = client
        return client


def redis_url(broker_url: str) -> str:
    """Return a Redis broker's URL as redis-py wants it: kombu writes sockets and their database another way."""
    if broker_url.startswith("redis+socket://"):
        return "unix://" + broker_url.removeprefix("redis+socket://").replace("virtual_host=", "db=")
    return broker_url


def _amqp_lengths(broker_url: str, queues: Sequence[str]) -> dict[str, int]:
    connection = _Connection(broker_url, connect_timeout=TIMEOUT_SECONDS)
    # A refused login is an error of a channel to the AMQP library, though there is none yet.
    foreign = (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)
    try:
        with connection:
            return {queue: _amqp_length(connection, queue) for queue in queues}
    except foreign as error:
        raise BrokerUnavailableError(f"the broker does not answer: {type(error).__name__}") from error


def _amqp_length(connection: Any, queue: str) -> int:
    # A passive declaration of a queue that is missing closes its channel, so each question has its own.
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:
        return 0
    finally:
        channel.close()
