"""Alerts: raised in the transaction of the trouble they tell of, sent afterwards, and again until somebody took them."""

from functools import partial
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy.orm import Session

from clients import alerts as alert_client
from core.crypto import decrypt
from core.database import unit_of_work
from core.errors import AnmeiError, PermanentError
from core.ids import new_id
from core.logging import get_logger
from queries import alerts as alert_queries
from queries.alerts import DueAlert
from services import automation
from services.persist import persist

log = get_logger(__name__)

LEASE_SECONDS = 60.0
AT_ONCE = 20
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 600.0


def raise_alert(
    session: Session, *, key: str, title: str, body: str, severity: str = "critical", occurrences: int = 1
) -> None:
    """Have administrators told, as part of the caller's transaction. Troubles of one key share an alert (see settings)."""
    alert_queries.raise_alert(
        session,
        key=key,
        severity=severity,
        title=title,
        body=body,
        occurrences=occurrences,
        quiet_seconds=automation.current().alerts.quiet_minutes * 60,
    )
    log.error("alert_raised", key=key, occurrences=occurrences)


def send_due() -> int:
    """Send the alerts that are due and return how many went out; what could not be sent is tried again later.

    Takes a lease on each, so that two senders do not send one twice.
    """
    token = new_id()
    with unit_of_work() as session:
        due = alert_queries.claim_alerts(session, token=token, lease_seconds=LEASE_SECONDS, most=AT_ONCE)
        channels = [
            (one.id, one.name, decrypt(one.url_encrypted)) for one in alert_queries.list_enabled_channels(session)
        ]
    sent = 0
    for alert in due:
        error: AnmeiError | None = PermanentError("no alert channel is configured", code="NO_ALERT_CHANNEL")
        for channel_id, name, url in channels:
            refused = _try(alert, url)
            with unit_of_work() as session:
                alert_queries.note_channel(session, channel_id, error=refused.message if refused else None)
            if refused is None:
                # One channel that took it is enough: the same alert is not repeated because another was down.
                error = None
            else:
                log.error("alert_channel_failed", channel=name, error_code=refused.code, error=refused.message)
                error = refused if error is not None else None
        persist(partial(_end, alert, token, error))
        sent += error is None
    return sent


def _try(alert: DueAlert, url: SecretStr) -> AnmeiError | None:
    new = alert.occurrences - alert.reported
    title = alert.title if new <= 1 else f"{alert.title} (×{new})"
    try:
        alert_client.send(url, title=title, body=alert.body, severity=alert.severity)
    except AnmeiError as error:
        return error
    return None


def _end(alert: DueAlert, token: UUID, error: AnmeiError | None) -> None:
    with unit_of_work() as session:
        if error is None:
            quiet = automation.current().alerts.quiet_minutes * 60
            alert_queries.end_sent(session, alert.id, token=token, occurrences=alert.occurrences, quiet_seconds=quiet)
        else:
            retry = min(FIRST_RETRY_SECONDS * 2 ** (alert.attempts - 1), LONGEST_RETRY_SECONDS)
            alert_queries.end_unsent(
                session, alert.id, token=token, code=error.code, text=error.message, retry_seconds=retry
            )
