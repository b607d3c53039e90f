"""What of a call's payloads may be kept: personal data masked, size capped, nothing the database refuses."""

import re
from typing import Any

import orjson

from core.ids import HANDLE_PREFIX
from core.logging import mask_phone_numbers

PERSONAL_FIELDS = frozenset(
    {
        "username",
        "name",
        "email",
        "phone",
        "avatar",
        "display_name",
        "doctor",
        "password",
        "api_key",
        "token",
        "note",
        "text",
    }
)
# Enough of a handle to tell it from another, too little to use it.
_HANDLE_SHOWN = len(HANDLE_PREFIX) + 4
_HANDLE = re.compile(rf"({HANDLE_PREFIX}[A-Za-z0-9_-]{{4}})[A-Za-z0-9_-]+")
_KEY = re.compile(r"(mcp_key_|app-|whsec_)[A-Za-z0-9_-]{6,}")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_FIELD_IN_TEXT = re.compile(
    r'"(' + "|".join(sorted(PERSONAL_FIELDS)) + r')":\s*"((?:[^"\\]|\\.)?)(?:[^"\\]|\\.)*("|\\?\Z)',
)
# PostgreSQL's text and jsonb hold neither; unpaired surrogates cannot even be encoded.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_DEPTH = 20


def masked_text(text: str) -> str:
    """Return the text without keys, e-mail addresses and phone numbers; of a handle, only its beginning."""
    text = _HANDLE.sub(r"\1***", _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text))
    return mask_phone_numbers(_EMAIL.sub("***", _KEY.sub(r"\1***", text)))


def masked_arguments(arguments: dict[str, Any] | None, max_bytes: int) -> dict[str, Any] | None:
    """Return the arguments as they may be logged; `{"truncated": beginning}` where they are larger than max_bytes."""
    if not arguments or max_bytes == 0:
        return None
    masked: dict[str, Any] = _masked(arguments, 0)
    encoded = orjson.dumps(masked)
    if len(encoded) <= max_bytes:
        return masked
    return {"truncated": encoded[:max_bytes].decode(errors="ignore")}


def masked_response(text: str | None, max_bytes: int) -> str | None:
    """Return the beginning of a JSON answer as it may be logged, at most max_bytes long."""
    if not text or max_bytes == 0:
        return None
    # Twice as much is masked as is kept, so that no field is cut before it is recognised.
    masked = masked_text(_FIELD_IN_TEXT.sub(r'"\1":"\2***"', text[: max_bytes * 2]))
    return masked.encode()[:max_bytes].decode(errors="ignore")


def _masked(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, dict):
        return {
            masked_text(str(key)): _mask_field(item) if key in PERSONAL_FIELDS else _masked(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_masked(item, depth + 1) for item in value]
    return value if value is None or isinstance(value, bool | float) or abs(value) < 2**53 else str(value)


def _mask_field(value: Any) -> str:
    text = _UNSTORABLE.sub("", str(value))
    return text[:1] + "***"
