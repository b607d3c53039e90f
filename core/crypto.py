"""Encryption at rest, under the one secret key, and lookup hashes, which need none."""

import base64
import hashlib
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from core.errors import PermanentError
from core.settings import get_settings


class UndecryptableError(PermanentError):
    """A stored secret was encrypted under another ANMEI_SECRET_KEY."""

    code = "UNDECRYPTABLE_SECRET"


def encrypt(secret: SecretStr) -> bytes:
    """Return the secret encrypted and authenticated (Fernet: AES-128-CBC with HMAC-SHA256)."""
    return _cipher().encrypt(secret.get_secret_value().encode())


def decrypt(token: bytes) -> SecretStr:
    """Return the secret; raise UndecryptableError when no configured key fits."""
    try:
        return SecretStr(_cipher().decrypt(bytes(token)).decode())
    except InvalidToken:
        raise UndecryptableError(
            "a stored secret cannot be decrypted: ANMEI_SECRET_KEY is not the one it was stored under"
        ) from None


def rotate(token: bytes) -> bytes:
    """Return the same secret encrypted under the newest key; raise UndecryptableError like `decrypt`."""
    return encrypt(decrypt(token))


def lookup_hash(secret: SecretStr) -> bytes:
    """Return a hash (SHA-256, 32 bytes) by which a presented secret is found without storing it.

    For secrets we made ourselves, of 256 random bits: they cannot be guessed, so the hash needs neither salt nor key, and
    survives every rotation of ANMEI_SECRET_KEY. Not for passwords.
    """
    return hashlib.sha256(b"anmei lookup\x00" + secret.get_secret_value().encode()).digest()


def derive_key(purpose: str) -> bytes:
    """Return 32 bytes bound to the purpose (HKDF, RFC 5869), for signing tokens and the like."""
    return _derive(_keys()[0], purpose.encode())


@lru_cache(maxsize=1)
def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(key, b"encryption"))) for key in _keys()])


@lru_cache(maxsize=1)
def _keys() -> list[str]:
    """Return the configured keys, newest first: ANMEI_SECRET_KEY may hold several, separated by commas, while one is rotated."""
    return [part.strip() for part in get_settings().require_secret_key().get_secret_value().split(",") if part.strip()]


def _derive(key: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"anmei " + purpose).derive(key.encode())


def forget_keys() -> None:
    """Drop the derived keys, so that the next use reads the settings again."""
    _cipher.cache_clear()
    _keys.cache_clear()
