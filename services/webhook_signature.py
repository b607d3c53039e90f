"""Who may call the webhook: signatures as the Standard Webhooks specification says, with secrets that can be rotated."""

import base64
import secrets
from collections.abc import Mapping

from pydantic import SecretStr
from sqlalchemy.orm import Session
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from core.crypto import decrypt
from core.errors import NotAuthenticatedError
from core.snapshots import Snapshot
from queries import settings as settings_queries

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
WEBHOOK_ID_MAX = 256


def new_secret() -> SecretStr:
    """Return a fresh secret: `whsec_` and 32 random bytes in base64, as the specification asks for (24 to 64)."""
    return SecretStr("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())


def _load(session: Session) -> tuple[Webhook, ...]:
    return tuple(
        Webhook(decrypt(row.secret_encrypted).get_secret_value())
        for row in settings_queries.list_valid_webhook_secrets(session)
    )


_snapshot = Snapshot("webhook_secrets", _load)


def verify(body: bytes, headers: Mapping[str, str]) -> str:
    """Return the webhook-id of a correctly signed body; raise NotAuthenticatedError saying what is wrong.

    Any valid secret may have signed, any of several signatures may match; the timestamp may differ from now by five
    minutes. Source: Standard Webhooks specification, "Verifying webhook authenticity".
    """
    missing = [name for name in HEADERS if not headers.get(name)]
    if missing:
        raise NotAuthenticatedError(f"missing header: {', '.join(missing)}", code="WEBHOOK_SIGNATURE_MISSING")
    if len(headers["webhook-id"]) > WEBHOOK_ID_MAX:
        raise NotAuthenticatedError(
            f"webhook-id is longer than {WEBHOOK_ID_MAX} characters", code="WEBHOOK_ID_TOO_LONG"
        )
    presented = {name: headers[name] for name in HEADERS}
    reason = "no webhook secret is configured"
    for webhook in _snapshot.current():
        try:
            webhook.verify(body, presented, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            # A malformed header raises ValueError, of base64, of a number, of a split, or of a body that is not UTF-8.
            reason = str(error) if isinstance(error, WebhookVerificationError) else "malformed signature headers"
            continue
        return headers["webhook-id"]
    code = "WEBHOOK_TIMESTAMP_STALE" if "timestamp" in reason else "WEBHOOK_SIGNATURE_INVALID"
    raise NotAuthenticatedError(f"the webhook's signature does not hold: {reason}", code=code)
