"""The Celery application: one broker, four queues, and settings that lose no more than a hint."""

from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import connection, entity

from core.settings import get_settings
from services.journey_plan import Queue
from worker import lifecycle

# Above any task's length; there are no ETAs here that a shorter one could double.
VISIBILITY_TIMEOUT_SECONDS = 3600
TASK_TIME_LIMIT_SECONDS = 120

# A worker asks for a broker that is away this often; Celery's own distance grows to half a minute, which would be added
# to every outage.
RECONNECT_MAX_SECONDS = 2.0
# Sending gives up at once: whoever sends must not wait for a broker that is away, and the sweep sends again.
CONNECT_TO_SEND = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}

# kombu has no types.
_KombuQueue: Any = entity.Queue
_KombuConnection: Any = connection.Connection


class _Connection(_KombuConnection):  # type: ignore[misc]
    """Reconnects at short, even distances."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        return super().ensure_connection(*args, **{"interval_max": RECONNECT_MAX_SECONDS, **kwargs})


class _Amqp(AMQP):  # type: ignore[misc]
    Connection = _Connection


def create_app() -> Celery:
    """Return the application for the broker that is configured (redis://, redis+socket:// or amqp://)."""
    broker_url = get_settings().require_broker_url()
    celery = Celery(
        "anmei",
        amqp=_Amqp,
        include=["tasks.journey", "tasks.consultants", "tasks.agents", "tasks.alerts", "tasks.maintenance"],
    )
    celery.conf.update(
        broker_url=broker_url,
        task_default_queue=Queue.JOURNEYS.value,
        task_queues=[_queue(queue, broker_url) for queue in Queue],
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        # The step's row is the result; Flower lives on events and needs no backend.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # A message is taken off the queue when its work is done, and goes back when its worker dies.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=True,
        task_time_limit=TASK_TIME_LIMIT_SECONDS,
        worker_prefetch_multiplier=2,
        worker_max_memory_per_child=400_000,
        worker_soft_shutdown_timeout=8.0,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(broker_url),
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Costs more than the work itself (docs/decisions/0005); Flower switches events on while it runs.
        worker_send_task_events=False,
        task_send_sent_event=False,
    )
    return celery


def _queue(queue: Queue, broker_url: str) -> Any:
    arguments = {"x-queue-type": "quorum"} if broker_url.startswith("amqp") else None
    return _KombuQueue(queue.value, routing_key=queue.value, queue_arguments=arguments)


def _transport_options(broker_url: str) -> dict[str, Any]:
    if broker_url.startswith("amqp"):
        return {"confirm_publish": True, **CONNECT_TO_SEND}
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        # A message is only a hint and the sweep repairs what is lost, so Redis need not keep a second copy of each
        # message under way: that bookkeeping costs a third of the throughput.
        "ack_emulation": False,
        "socket_timeout": 10,
        "socket_connect_timeout": 2,
        "health_check_interval": 10,
        **CONNECT_TO_SEND,
    }


app = create_app()
lifecycle.connect()
