"""Celery entry points for house-keeping, sent by the beat's leader."""

from core.database import unit_of_work
from core.errors import AnmeiError
from queries import connections
from services import agent_outcomes, automation, persons, retention
from tasks.names import TaskName
from worker.app import app


@app.task(name=TaskName.FORGET_CONNECTIONS)
def forget_connections() -> int:
    """Delete the sockets of processes that died; they count as offline since they expired."""
    with unit_of_work() as session:
        return connections.delete_expired(session)


@app.task(name=TaskName.REVIEW_CANARIES, throws=(AnmeiError,))
def review_canaries() -> list[str]:
    """Take back canaries that are clearly worse. Safe to run twice: each is taken back once."""
    return [str(one) for one in agent_outcomes.review_canaries(automation.current().gateway.canary)]


@app.task(name=TaskName.PRUNE_EVENTS)
def prune_events() -> int:
    """Delete events that no socket resumes from any more, and sessions that ended long ago."""
    return retention.prune_events(automation.current().retention)


@app.task(name=TaskName.RETENTION, throws=(AnmeiError,))
def prune_old() -> dict[str, int]:
    """Prune what is older than the settings say. What one run leaves, the next takes up."""
    return retention.prune(automation.current().retention)


@app.task(name=TaskName.ERASE_LATE_WRITES, throws=(AnmeiError,))
def erase_late_writes() -> int:
    """Erase again what was still being written about persons who were erased lately."""
    return persons.erase_late_writes()
