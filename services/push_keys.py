"""The installation's own key for web pushes: made on first use, the same ever after."""

import base64

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from clients.push import VapidKey
from core.crypto import decrypt, encrypt
from core.database import unit_of_work
from models import PushKey
from queries import push_channels as queries
from services import automation


def public_key() -> str:
    """Return the key a browser subscribes with (`applicationServerKey`)."""
    return _key().public_key


def vapid_key() -> VapidKey:
    """Return the key web pushes are signed with; raise core.crypto.UndecryptableError."""
    return VapidKey(decrypt(_key().private_key_encrypted), automation.current().notification.webpush_contact)


def _key() -> PushKey:
    with unit_of_work() as session:
        found = queries.find_push_key(session)
    if found is not None:
        return found
    public, private = _generate()
    with unit_of_work() as session:
        # Of two at once the first one's key stays.
        return queries.keep_push_key(session, public_key=public, private_key_encrypted=encrypt(private))


def _generate() -> tuple[str, SecretStr]:
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _text(point), SecretStr(_text(key.private_numbers().private_value.to_bytes(32, "big")))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
