"""The job as a dramatiq pipeline on Redis, everything else as dramatiq comes."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers import job
from core.settings import get_settings

broker = RedisBroker(url=get_settings().require_redis_url())
dramatiq.set_broker(broker)


@dramatiq.actor
def create_conversation(journey_id: str) -> None:
    job.create_conversation(journey_id)


@dramatiq.actor
def generate_welcome(journey_id: str) -> None:
    job.generate_welcome(journey_id)


@dramatiq.actor
def notify_consultants(journey_id: str) -> None:
    job.notify_consultants(journey_id)


def start(journey_id: str) -> None:
    """Send the pipeline of one journey; no step takes the result of the one before it."""
    steps = [
        one.message_with_options(args=(journey_id,), pipe_ignore=True) for one in (generate_welcome, notify_consultants)
    ]
    dramatiq.pipeline([create_conversation.message(journey_id), *steps]).run()
