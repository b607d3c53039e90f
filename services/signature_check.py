"""Why a webhook's signature holds or not, part by part: for whoever connects a signup service. Tells no secret."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from core.clock import utc_now
from core.crypto import decrypt
from core.database import unit_of_work
from models import WebhookSecret
from queries import settings as queries
from services.webhook_signature import HEADERS, WEBHOOK_ID_MAX

# The tolerance of the Standard Webhooks specification, as the webhook applies it.
TOLERANCE_SECONDS = 300
_LONGEST_TIMESTAMP = 12


class Part(StrEnum):
    HEADERS = "headers"
    ID = "id"
    TIMESTAMP = "timestamp"
    FORMAT = "format"
    SIGNATURE = "signature"


class Result(StrEnum):
    OK = "ok"
    MISSING = "missing"
    TOO_LONG = "too_long"
    NOT_A_NUMBER = "not_a_number"
    TOO_OLD = "too_old"
    IN_THE_FUTURE = "in_the_future"
    NO_V1 = "no_v1"
    NOT_BASE64 = "not_base64"
    NO_SECRET = "no_secret"  # noqa: S105 - a result's name
    MISMATCH = "mismatch"
    # Signed over another form of the same body.
    OTHER_BODY = "other_body"
    EXPIRED_SECRET = "expired_secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Finding:
    """What one part of the check came to; `detail` is a header's name, seconds, or which secret by its date."""

    part: Part
    result: Result
    detail: str = ""

    @property
    def is_ok(self) -> bool:
        return self.result is Result.OK


def explain(body: str, headers: Mapping[str, str]) -> list[Finding]:
    """Return what the webhook would say of this request now, part by part; header names in any case."""
    given = {name.lower().strip(): value.strip() for name, value in headers.items()}
    missing = [name for name in HEADERS if not given.get(name)]
    if missing:
        return [Finding(Part.HEADERS, Result.MISSING, ", ".join(missing))]
    webhook_id, timestamp, presented = (given[name] for name in HEADERS)
    with unit_of_work() as session:
        secrets = queries.list_webhook_secrets(session)
    too_long = len(webhook_id) > WEBHOOK_ID_MAX
    signatures, form = _signatures(presented)
    found = [
        Finding(Part.HEADERS, Result.OK),
        Finding(Part.ID, Result.TOO_LONG if too_long else Result.OK, str(len(webhook_id))),
        _timestamp(timestamp),
        form,
    ]
    if signatures:
        found.append(_match(f"{webhook_id}.{timestamp}.", body, signatures, secrets))
    return found


def _timestamp(text: str) -> Finding:
    if not text.isdecimal() or len(text) > _LONGEST_TIMESTAMP:
        return Finding(Part.TIMESTAMP, Result.NOT_A_NUMBER, text[:40])
    age = round(utc_now().timestamp() - int(text))
    if age > TOLERANCE_SECONDS:
        return Finding(Part.TIMESTAMP, Result.TOO_OLD, str(age))
    if -age > TOLERANCE_SECONDS:
        return Finding(Part.TIMESTAMP, Result.IN_THE_FUTURE, str(-age))
    return Finding(Part.TIMESTAMP, Result.OK, str(age))


def _signatures(header: str) -> tuple[list[bytes], Finding]:
    values = [part.removeprefix("v1,") for part in header.split() if part.startswith("v1,")]
    if not values:
        return [], Finding(Part.FORMAT, Result.NO_V1)
    decoded = [signature for value in values if (signature := _decoded(value)) is not None]
    return decoded, Finding(Part.FORMAT, Result.OK if decoded else Result.NOT_BASE64, str(len(values)))


def _decoded(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def _match(prefix: str, body: str, signatures: Sequence[bytes], secrets: Sequence[WebhookSecret]) -> Finding:
    if not secrets:
        return Finding(Part.SIGNATURE, Result.NO_SECRET)
    now = datetime.now(UTC)
    # Editors and forms add or take line ends; which of them was signed is what people look for longest.
    forms = dict.fromkeys([body, body.strip(), body.rstrip("\n"), body + "\n", body.replace("\n", "\r\n")])
    for place, form in enumerate(forms):
        for secret in secrets:
            if not _signed(secret, prefix + form, signatures):
                continue
            made = secret.created_at.isoformat(timespec="seconds")
            if secret.expires_at is not None and secret.expires_at <= now:
                return Finding(Part.SIGNATURE, Result.EXPIRED_SECRET, made)
            return Finding(Part.SIGNATURE, Result.OK if place == 0 else Result.OTHER_BODY, made)
    return Finding(Part.SIGNATURE, Result.MISMATCH)


def _signed(secret: WebhookSecret, content: str, signatures: Sequence[bytes]) -> bool:
    key = base64.b64decode(decrypt(secret.secret_encrypted).get_secret_value().removeprefix("whsec_"))
    expected = hmac.new(key, content.encode(errors="replace"), hashlib.sha256).digest()
    return any(hmac.compare_digest(expected, one) for one in signatures)
