"""Alerts as an outbox: raising, claiming and ending them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from models import Alert, AlertChannel

_RAISE = text("""
INSERT INTO alerts (id, key, severity, title, body, occurrences, status, due_at)
VALUES (anmei_uuid7(), :key, :severity, :title, :body, :occurrences, 'pending', now())
ON CONFLICT (key) DO UPDATE
SET occurrences = alerts.occurrences + excluded.occurrences, last_at = now(), severity = excluded.severity,
    title = excluded.title, body = excluded.body, status = 'pending',
    due_at = greatest(coalesce(alerts.due_at, now()), alerts.last_sent_at + make_interval(secs => :quiet_seconds))
""")


def raise_alert(
    session: Session, *, key: str, severity: str, title: str, body: str, occurrences: int, quiet_seconds: float
) -> None:
    """Count a trouble and have it told: the first at once, those that follow together after `quiet_seconds`."""
    session.execute(
        _RAISE,
        {
            "key": key,
            "severity": severity,
            "title": title,
            "body": body,
            "occurrences": occurrences,
            "quiet_seconds": quiet_seconds,
        },
    )


@dataclass(frozen=True, slots=True)
class DueAlert:
    """One alert to send, ours until its lease runs out."""

    id: UUID
    severity: str
    title: str
    body: str
    occurrences: int
    reported: int
    attempts: int


_CLAIM = text("""
WITH due AS MATERIALIZED (
    SELECT id FROM alerts WHERE due_at <= now() AND status = 'pending' AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE alerts a SET lease_token = :token, lease_until = now() + make_interval(secs => :lease_seconds), attempts = least(a.attempts + 1, 1000)
FROM due WHERE a.id = due.id
RETURNING a.id, a.severity, a.title, a.body, a.occurrences, a.reported, a.attempts
""")


def claim_alerts(session: Session, *, token: UUID, lease_seconds: float, most: int) -> list[DueAlert]:
    """Take the alerts that are due and nobody else is sending."""
    rows = session.execute(_CLAIM, {"token": token, "lease_seconds": lease_seconds, "most": most})
    return [DueAlert(**row._mapping) for row in rows]


_SENT = text("""
UPDATE alerts SET last_sent_at = now(), reported = :occurrences, attempts = 0, lease_token = NULL, lease_until = NULL,
    error_code = NULL, error_text = NULL,
    status = CASE WHEN occurrences > :occurrences THEN 'pending' ELSE 'sent' END,
    due_at = CASE WHEN occurrences > :occurrences THEN now() + make_interval(secs => :quiet_seconds) END
WHERE id = :id AND lease_token = :token
""")


def end_sent(session: Session, alert_id: UUID, *, token: UUID, occurrences: int, quiet_seconds: float) -> None:
    """Record that the alert went out and told of so many occurrences; more that came meanwhile are told later."""
    session.execute(_SENT, {"id": alert_id, "token": token, "occurrences": occurrences, "quiet_seconds": quiet_seconds})


_UNSENT = text("""
UPDATE alerts SET lease_token = NULL, lease_until = NULL, error_code = :code, error_text = :text,
    due_at = now() + make_interval(secs => :retry_seconds)
WHERE id = :id AND lease_token = :token
""")


def end_unsent(session: Session, alert_id: UUID, *, token: UUID, code: str, text: str, retry_seconds: float) -> None:
    """Record that the alert could not be sent, and when that is tried again."""
    session.execute(
        _UNSENT, {"id": alert_id, "token": token, "code": code, "text": text, "retry_seconds": retry_seconds}
    )


def any_due(session: Session) -> bool:
    """Tell whether an alert waits to be sent now."""
    found = session.scalar(
        text(
            "SELECT EXISTS (SELECT FROM alerts WHERE due_at <= now() AND status = 'pending'"
            " AND (lease_until IS NULL OR lease_until <= now()))"
        )
    )
    return bool(found)


def list_enabled_channels(session: Session) -> Sequence[AlertChannel]:
    """Return the channels alerts go to."""
    return session.scalars(select(AlertChannel).where(AlertChannel.enabled).order_by(AlertChannel.name)).all()


_CHANNEL_ENDED = text("""
UPDATE alert_channels SET last_success_at = CASE WHEN CAST(:error AS text) IS NULL THEN now() ELSE last_success_at END, last_error = :error
WHERE id = :id
""")


def note_channel(session: Session, channel_id: UUID, *, error: str | None) -> None:
    """Record a channel's last success or failure."""
    session.execute(_CHANNEL_ENDED, {"id": channel_id, "error": error})


def list_channels(session: Session) -> list[AlertChannel]:
    """Return all channels by name."""
    return list(session.scalars(select(AlertChannel).order_by(AlertChannel.name)))


def find_channel(session: Session, channel_id: UUID) -> AlertChannel | None:
    return session.get(AlertChannel, channel_id)


def find_channel_named(session: Session, name: str) -> AlertChannel | None:
    return session.scalar(select(AlertChannel).where(AlertChannel.name == name))


def lock_channel(session: Session, channel_id: UUID) -> AlertChannel:
    """Return the channel, its row locked until the transaction ends; raise NotFoundError."""
    found = session.scalar(select(AlertChannel).where(AlertChannel.id == channel_id).with_for_update())
    if found is None:
        raise NotFoundError(f"no alert channel {channel_id}", code="ALERT_CHANNEL_NOT_FOUND")
    return found


def list_alerts(session: Session, *, limit: int) -> list[Alert]:
    """Return the alerts that were last raised, the newest first."""
    return list(session.scalars(select(Alert).order_by(Alert.last_at.desc()).limit(limit)))


def hurry_unsent(session: Session) -> None:
    """Make alerts that could not be sent due now."""
    session.execute(
        text(
            "UPDATE alerts SET due_at = now() WHERE status = 'pending' AND error_code IS NOT NULL AND lease_until IS NULL"
        )
    )
