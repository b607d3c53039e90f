"""Celery entry point for alerts. The rules live in services.alerts."""

from core.errors import AnmeiError
from services import alerts
from tasks.names import TaskName
from worker.app import app


@app.task(name=TaskName.SEND_ALERTS, throws=(AnmeiError,))
def send() -> int:
    """Send the alerts that are due. Safe to deliver twice: an alert under a lease, or sent, is left alone."""
    return alerts.send_due()
