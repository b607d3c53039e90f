"""Secrets among settings: sealed as soon as they are validated, so that no version, form or audit entry shows one."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from core.crypto import decrypt, encrypt

PREFIX = "sealed:"


def seal(value: str) -> str:
    """Return the secret encrypted; what is sealed already, or empty, as it is."""
    return value if not value or value.startswith(PREFIX) else PREFIX + encrypt(SecretStr(value)).decode()


def unseal(value: str) -> SecretStr | None:
    """Return the secret, None for an empty one; raise core.crypto.UndecryptableError."""
    return decrypt(value.removeprefix(PREFIX).encode()) if value else None


Sealed = Annotated[str, Field(max_length=2000), AfterValidator(seal)]
