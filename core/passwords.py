"""Passwords: made, hashed and checked."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import SecretStr

# argon2id with the library's defaults, which follow RFC 9106's low-memory profile.
_hasher = PasswordHasher()


def hash_password(password: SecretStr) -> str:
    """Return an argon2id hash with its own salt and parameters. Takes tens of milliseconds on purpose."""
    return _hasher.hash(password.get_secret_value())


def password_fits(password_hash: str, password: SecretStr) -> bool:
    """Tell whether the password is the hashed one. Takes tens of milliseconds on purpose."""
    try:
        return _hasher.verify(password_hash, password.get_secret_value())
    except (VerificationError, InvalidHashError):
        return False


def new_password() -> SecretStr:
    """Return a random password of 108 bits that can be typed and shell-quoted without care."""
    return SecretStr(secrets.token_urlsafe(14).replace("-", "x").replace("_", "y"))
