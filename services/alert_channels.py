"""Where alerts go: channels by URL, checked before they are kept, tried before they are trusted."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import SecretStr

from clients import alerts as alert_client
from core.crypto import decrypt, encrypt
from core.database import unit_of_work
from core.errors import ConflictError, InvalidInputError, NotFoundError
from models import Alert, AlertChannel
from queries import alerts as queries
from services import audit


@dataclass(frozen=True, slots=True)
class ShownChannel:
    """A channel without its URL, which may hold a token; `service` is its first part (wecom, dingtalk, mailto, …)."""

    id: UUID
    name: str
    service: str
    enabled: bool
    last_success_at: datetime | None
    last_error: str | None


def listed() -> list[ShownChannel]:
    """Return the channels by name."""
    with unit_of_work() as session:
        return [_shown(one) for one in queries.list_channels(session)]


def recent_alerts(*, limit: int) -> list[Alert]:
    """Return the alerts that were last raised, the newest first."""
    with unit_of_work() as session:
        return queries.list_alerts(session, limit=limit)


def add(name: str, url: SecretStr, *, actor: str, origin: str | None = None) -> ShownChannel:
    """Keep a channel, its URL encrypted. Audited. Raises InvalidInputError for a URL of no known service, ConflictError."""
    try:
        alert_client.check_url(url)
    except alert_client.AlertUrlError as error:
        raise InvalidInputError(f"url: {error.message}") from None
    with unit_of_work() as session:
        if queries.find_channel_named(session, name) is not None:
            raise ConflictError(f"there is an alert channel named {name} already", code="NAME_TAKEN")
        channel = AlertChannel(name=name, url_encrypted=encrypt(url))
        session.add(channel)
        session.flush()
        # What waited for a channel need not wait for its turn.
        queries.hurry_unsent(session)
        audit.record(
            session,
            actor=actor,
            action="alert_channel.add",
            subject=f"alert_channel:{channel.id}",
            after={"name": name, "service": _service(url)},
            origin=origin,
        )
    return _shown(channel)


def set_enabled(channel_id: UUID, enabled: bool, *, actor: str, origin: str | None = None) -> ShownChannel:
    """Switch a channel on or off. Audited. Raises NotFoundError."""
    with unit_of_work() as session:
        channel = queries.lock_channel(session, channel_id)
        audit.record(
            session,
            actor=actor,
            action="alert_channel.change",
            subject=f"alert_channel:{channel_id}",
            before={"enabled": channel.enabled},
            after={"enabled": enabled},
            origin=origin,
        )
        channel.enabled = enabled
        return _shown(channel)


def remove(channel_id: UUID, *, actor: str, origin: str | None = None) -> None:
    """Forget a channel. Audited. Raises NotFoundError."""
    with unit_of_work() as session:
        channel = queries.lock_channel(session, channel_id)
        audit.record(
            session,
            actor=actor,
            action="alert_channel.remove",
            subject=f"alert_channel:{channel_id}",
            before={"name": channel.name},
            origin=origin,
        )
        session.delete(channel)


def try_out(channel_id: UUID) -> ShownChannel:
    """Send a test alert now and return the channel with what came of it. Raises NotFoundError, AlertUnsentError."""
    with unit_of_work() as session:
        channel = queries.find_channel(session, channel_id)
    if channel is None:
        raise NotFoundError(f"no alert channel {channel_id}", code="ALERT_CHANNEL_NOT_FOUND")
    error: str | None = None
    try:
        alert_client.send(
            decrypt(channel.url_encrypted),
            title="安美智享测试告警 / AnmeiSmart test alert",
            body="这是一条测试告警，无需处理。 / This is a test; nothing needs to be done.",
            severity="info",
        )
    except alert_client.AlertUnsentError as refused:
        error = refused.message
        raise
    finally:
        with unit_of_work() as session:
            queries.note_channel(session, channel_id, error=error)
    with unit_of_work() as session:
        return _shown(queries.lock_channel(session, channel_id))


def _shown(channel: AlertChannel) -> ShownChannel:
    return ShownChannel(
        id=channel.id,
        name=channel.name,
        service=_service(decrypt(channel.url_encrypted)),
        enabled=channel.enabled if channel.enabled is not None else True,
        last_success_at=channel.last_success_at,
        last_error=channel.last_error,
    )


def _service(url: SecretStr) -> str:
    return url.get_secret_value().split("://")[0]
