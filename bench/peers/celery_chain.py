"""The job as a plain Celery chain: acks_late, prefork, no result backend, everything else as Celery comes."""

from celery import Celery, chain

from bench.peers import job
from core.settings import get_settings

app = Celery("peer", broker=get_settings().require_broker_url())
app.conf.update(task_acks_late=True, task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task(name="peer.create_conversation")
def create_conversation(journey_id: str) -> None:
    job.create_conversation(journey_id)


@app.task(name="peer.generate_welcome")
def generate_welcome(journey_id: str) -> None:
    job.generate_welcome(journey_id)


@app.task(name="peer.notify_consultants")
def notify_consultants(journey_id: str) -> None:
    job.notify_consultants(journey_id)


def start(journey_id: str) -> None:
    """Send the chain of one journey."""
    chain(
        create_conversation.si(journey_id), generate_welcome.si(journey_id), notify_consultants.si(journey_id)
    ).delay()
