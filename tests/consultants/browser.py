"""A browser's side of a web push: its subscription's keys, and the decryption of what arrives (RFC 8291)."""

import base64
import json
import os
from typing import Any

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.consultants.receiver import Received


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Browser:
    def __init__(self, endpoint: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.subscription = {
            "endpoint": endpoint,
            "expirationTime": None,
            "keys": {"p256dh": _text(point), "auth": _text(self._auth)},
        }

    def read(self, push: Received) -> dict[str, Any]:
        """Return what the push says; fails when it is not for this browser."""
        assert push.headers["content-encoding"] == "aes128gcm"
        plain = http_ece.decrypt(push.body, private_key=self._key, auth_secret=self._auth, version="aes128gcm")
        said: dict[str, Any] = json.loads(plain)
        return said


def signed_by(push: Received, public_key: str, audience: str) -> dict[str, Any]:
    """Return the push's VAPID claims; fails unless the key signed them for this audience (RFC 8292)."""
    scheme, _, parameters = push.headers["authorization"].partition(" ")
    assert scheme == "vapid"
    given = dict(part.strip().split("=", 1) for part in parameters.split(","))
    assert given["k"] == public_key
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _raw(public_key))
    claims: dict[str, Any] = jwt.decode(given["t"], point, algorithms=["ES256"], audience=audience)
    return claims
