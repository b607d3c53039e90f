"""Workers say that they are there; whoever asks counts those heard of lately."""

import os
import socket
from collections.abc import Sequence
from datetime import datetime

from core.clock import utc_now
from core.database import unit_of_work
from queries import figures_now
from queries.figures_now import Heartbeat

BEAT_SECONDS = 5.0
# Three beats may be late before a worker counts as gone.
ALIVE_SECONDS = 3 * BEAT_SECONDS


def beat(worker_id: str, *, role: str, queues: Sequence[str], last_task_at: datetime | None = None) -> None:
    """Say that this worker consumes these queues; call every BEAT_SECONDS from where a hung worker would hang too.

    `last_task_at` is when a task last began; it never goes back. Raises DatabaseUnavailableError.
    """
    with unit_of_work() as session:
        # Connected first, so that the clock is read as the statement goes out.
        session.connection()
        figures_now.write_heartbeat(
            session,
            id=worker_id,
            role=role,
            pid=os.getpid(),
            host=socket.gethostname(),
            queues=queues,
            last_task_at=last_task_at,
            clock_at=utc_now(),
        )


def leave(worker_id: str) -> None:
    """Take this worker off the list at once, instead of when its last beat is too old. Idempotent."""
    with unit_of_work() as session:
        figures_now.delete_heartbeat(session, worker_id)


def list_alive() -> list[Heartbeat]:
    """Return the workers heard of within ALIVE_SECONDS."""
    with unit_of_work() as session:
        return figures_now.list_heartbeats(session, within_seconds=ALIVE_SECONDS)
