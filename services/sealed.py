"""Secrets among settings: sealed as soon as they are validated, so that no version, form or audit entry shows one."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from core.crypto import decrypt, encrypt, rotate

PREFIX = "sealed:"


def seal(value: str) -> str:
    """Return the secret encrypted; what is sealed already, or empty, as it is."""
    return value if not value or value.startswith(PREFIX) else PREFIX + encrypt(SecretStr(value)).decode()


def unseal(value: str) -> SecretStr | None:
    """Return the secret, None for an empty one; raise core.crypto.UndecryptableError."""
    return decrypt(value.removeprefix(PREFIX).encode()) if value else None


def reseal(value: Any) -> Any:
    """Return JSON with everything sealed in it sealed under the newest key; raise core.crypto.UndecryptableError."""
    if isinstance(value, str) and value.startswith(PREFIX):
        return PREFIX + rotate(value.removeprefix(PREFIX).encode()).decode()
    if isinstance(value, dict):
        return {name: reseal(inner) for name, inner in value.items()}
    return [reseal(inner) for inner in value] if isinstance(value, list) else value


Sealed = Annotated[str, Field(max_length=2000), AfterValidator(seal)]
