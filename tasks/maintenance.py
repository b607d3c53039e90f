"""Celery entry points for house-keeping, sent by the beat's leader."""

from core.database import unit_of_work
from core.errors import AnmeiError
from queries import auth, connections, events
from services import agent_outcomes, automation
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
    with unit_of_work() as session:
        return events.delete_old(session) + auth.delete_old(session)
