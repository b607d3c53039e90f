"""Celery entry points for house-keeping, sent by the beat's leader."""

from core.database import unit_of_work
from queries import connections
from tasks.names import TaskName
from worker.app import app


@app.task(name=TaskName.FORGET_CONNECTIONS)
def forget_connections() -> int:
    """Delete the sockets of processes that died; they count as offline since they expired."""
    with unit_of_work() as session:
        return connections.delete_expired(session)
