"""The signature tester names the part that does not match."""

import base64
import hashlib
import hmac
from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.clock import utc_now
from core.crypto import encrypt
from core.database import unit_of_work
from models import WebhookSecret
from services.signature_check import Part, Result, explain

KEY = base64.b64encode(b"k" * 32).decode()
BODY = '{"type": "user.registered"}'


def secret(*, expired: bool = False) -> None:
    ends = utc_now() - timedelta(hours=1) if expired else None
    row = WebhookSecret(secret_encrypted=encrypt(SecretStr(f"whsec_{KEY}")), created_by="test", expires_at=ends)
    with unit_of_work() as session:
        session.add(row)


def headers(body: str = BODY, *, seconds_ago: int = 0, key: str = KEY, **changed: str) -> dict[str, str]:
    at = str(int(utc_now().timestamp()) - seconds_ago)
    signed = hmac.new(base64.b64decode(key), f"msg_1.{at}.{body}".encode(), hashlib.sha256).digest()
    plain = {
        "webhook-id": "msg_1",
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
    return plain | {name.replace("_", "-"): value for name, value in changed.items()}


def wrong(body: str, given: dict[str, str]) -> list[tuple[Part, Result]]:
    return [(one.part, one.result) for one in explain(body, given) if not one.is_ok]


def test_a_good_signature_holds_in_every_part(database: str) -> None:
    secret()
    assert wrong(BODY, headers()) == []
    assert wrong(BODY, {name.upper(): value for name, value in headers().items()}) == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"webhook_id": ""}, [(Part.HEADERS, Result.MISSING)]),
        ({"webhook_timestamp": "soon"}, [(Part.TIMESTAMP, Result.NOT_A_NUMBER), (Part.SIGNATURE, Result.MISMATCH)]),
        ({"webhook_signature": "junk"}, [(Part.FORMAT, Result.NO_V1)]),
        ({"webhook_signature": "v1,%%%"}, [(Part.FORMAT, Result.NOT_BASE64)]),
        ({"webhook_id": "msg_2"}, [(Part.SIGNATURE, Result.MISMATCH)]),
    ],
)
def test_the_wrong_part_is_named(database: str, given: dict[str, str], found: list[tuple[Part, Result]]) -> None:
    secret()
    assert wrong(BODY, headers(**given)) == found


def test_clocks_are_told_apart(database: str) -> None:
    secret()
    assert wrong(BODY, headers(seconds_ago=301)) == [(Part.TIMESTAMP, Result.TOO_OLD)]
    assert wrong(BODY, headers(seconds_ago=-400)) == [(Part.TIMESTAMP, Result.IN_THE_FUTURE)]


def test_another_body_another_key_and_an_ended_secret_are_told_apart(database: str) -> None:
    assert wrong(BODY, headers()) == [(Part.SIGNATURE, Result.NO_SECRET)]
    secret(expired=True)
    assert wrong(BODY, headers()) == [(Part.SIGNATURE, Result.EXPIRED_SECRET)]
    secret()
    assert wrong(BODY + "\n", headers()) == [(Part.SIGNATURE, Result.OTHER_BODY)]
    assert wrong(BODY, headers(key=base64.b64encode(b"x" * 32).decode())) == [(Part.SIGNATURE, Result.MISMATCH)]
