"""Alert channels by URL, through Apprise: chat services, push, mail and webhooks."""

import logging

import apprise
from pydantic import SecretStr

from core.errors import PermanentError, TransientError

SEVERITIES = {
    "info": apprise.NotifyType.INFO,
    "warning": apprise.NotifyType.WARNING,
    "critical": apprise.NotifyType.FAILURE,
}

# Its own lines may quote a URL with its token.
logging.getLogger("apprise").setLevel(logging.CRITICAL)


class AlertUnsentError(TransientError):
    code = "ALERT_UNSENT"


class AlertUrlError(PermanentError):
    code = "ALERT_URL_INVALID"


def check_url(url: SecretStr) -> None:
    """Raise AlertUrlError when no service can be made of the URL."""
    _service(url)


def send(url: SecretStr, *, title: str, body: str, severity: str) -> None:
    """Send one alert; raise AlertUnsentError when the service did not take it, AlertUrlError for a URL that is none."""
    service = _service(url)
    if not service.notify(title=title, body=body, notify_type=SEVERITIES.get(severity, apprise.NotifyType.WARNING)):
        raise AlertUnsentError("the alert channel did not take the alert")


def _service(url: SecretStr) -> apprise.Apprise:
    service = apprise.Apprise()
    if not service.add(url.get_secret_value()):
        raise AlertUrlError("the alert channel's URL names no service that is known")
    return service
