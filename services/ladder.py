"""When the rungs of the escalation ladder are due: working time since the customer began to wait. Pure."""

from datetime import datetime, timedelta

from services.automation import AutomationSettings, Rung


def seconds_until(rung: Rung, *, since: datetime, now: datetime, settings: AutomationSettings) -> float:
    """Return the seconds from now until the rung is due for a customer who waits since then; 0 when it is overdue."""
    waited = timedelta(minutes=rung.after_minutes)
    hours = settings.notification.working_hours
    due = hours.after(since, waited) if settings.escalation.working_hours_only else since + waited
    return max(0.0, (due - now).total_seconds())


def seconds_until_open(now: datetime, settings: AutomationSettings) -> float:
    """Return the seconds until the ladder goes on: 0 within working hours, or where it does not keep to them."""
    if not settings.escalation.working_hours_only:
        return 0.0
    return max(0.0, (settings.notification.working_hours.next_open(now) - now).total_seconds())
