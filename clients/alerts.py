"""Alert channels by URL, through Apprise: chat services, push, mail and webhooks."""

import logging
from typing import TYPE_CHECKING

from pydantic import SecretStr

from core.errors import PermanentError, TransientError

if TYPE_CHECKING:
    # With its hundred services it is loaded by whoever sends an alert, not at the start of every process that might.
    import apprise

# The library's names of its kinds of notification.
SEVERITIES = {"info": "info", "warning": "warning", "critical": "failure"}

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
    if not service.notify(title=title, body=body, notify_type=SEVERITIES.get(severity, "warning")):
        raise AlertUnsentError("the alert channel did not take the alert")


def _service(url: SecretStr) -> "apprise.Apprise":
    import apprise

    service = apprise.Apprise()
    if not service.add(url.get_secret_value()):
        raise AlertUrlError("the alert channel's URL names no service that is known")
    return service
