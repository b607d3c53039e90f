"""What a worker process does besides tasks: says that it is there, watches itself, and stops without dropping anything."""

import os
import socket
import threading
from datetime import datetime
from importlib import import_module
from typing import Any

from celery import signals
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.worker import state

from clients import agents, broker
from core import database, log_events, memory
from core.clock import utc_now
from core.errors import DatabaseUnavailableError
from core.logging import get_logger
from core.settings import get_settings
from services import confirmations, heartbeats, shutdown
from services.journey_plan import Queue
from worker import tracing
from worker.watchdog import Glance, Watchdog

log = get_logger(__name__)


class _Worker:
    """The main process of one worker, from ready to shutdown."""

    def __init__(self, consumer: Any) -> None:
        self.queues = sorted(consumer.app.amqp.queues.consume_from)
        self._id = f"{consumer.hostname}:{os.getpid()}"
        self._received = 0
        self._last_task_at: datetime | None = None
        self._watchdog = Watchdog(self._glance, self.queues)
        self._stopped = threading.Event()

    def start(self) -> None:
        signals.task_received.connect(self._note_task, weak=False)
        self._watchdog.start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        log.info(log_events.PROCESS_STARTED, queues=self.queues, host=socket.gethostname())

    def stop(self) -> None:
        self._stopped.set()
        self._watchdog.stop()

    def _note_task(self, **_: Any) -> None:
        self._received += 1
        self._last_task_at = utc_now()

    def _glance(self) -> Glance:
        lengths = broker.queue_lengths(get_settings().require_broker_url(), self.queues)
        return Glance(sum(lengths.values()), len(state.reserved_requests), self._received)

    def _beat(self) -> None:
        while True:
            try:
                heartbeats.beat(self._id, role="worker", queues=self.queues, last_task_at=self._last_task_at)
            except DatabaseUnavailableError as error:
                log.warning("heartbeat_missed", error=error.message)
            if self._stopped.wait(heartbeats.BEAT_SECONDS):
                break
        try:
            heartbeats.leave(self._id)
        except DatabaseUnavailableError as error:
            log.warning("heartbeat_missed", error=error.message)


_worker: _Worker | None = None


def connect() -> None:
    """Hook into Celery's signals; they fire in worker processes only."""
    signals.worker_ready.connect(_ready, weak=False)
    signals.worker_shutting_down.connect(_shutting_down, weak=False)
    signals.worker_process_init.connect(_child_started, weak=False)
    # A pool of threads ends with the worker, a pool of processes each for itself.
    signals.worker_process_shutdown.connect(_stop_calls, weak=False)
    signals.worker_shutdown.connect(_stop_calls, weak=False)
    tracing.connect()


def _ready(sender: Any, **_: Any) -> None:
    global _worker
    _worker = _Worker(sender)
    _worker.start()
    if not isinstance(sender.pool, ProcessPool):
        # Its tasks run in this process; of a pool of processes each child says for itself what it runs.
        confirmations.begin("worker")
    if Queue.AGENTS in _worker.queues:
        # Loaded with the first call otherwise, which would then be late by it.
        import_module("clients.agent_http")
    memory.settle()


def _shutting_down(**_: Any) -> None:
    shutdown.stopping.set()
    if _worker is not None:
        _worker.stop()


def _stop_calls(**_: Any) -> None:
    """Tell agents to stop what nobody will hear any more."""
    agents.shutdown()
    confirmations.end()


def _child_started(**_: Any) -> None:
    # A child of the pool works on one task at a time.
    database.set_pool_size(2)
    confirmations.begin("worker")
    memory.settle_fork()
