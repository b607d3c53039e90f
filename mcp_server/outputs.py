"""What leaves as a tool's answer: one text part of JSON, without characters that act on a terminal or a reader, size capped."""

import re
from typing import Any

import orjson

from core.errors import PermanentError

# ESC starts terminal sequences, NUL ends strings, bidirectional controls and tags show something else than is there.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)


class OutputTooLargeError(PermanentError):
    code = "OUTPUT_TOO_LARGE"


def encode(value: Any, max_bytes: int) -> str:
    """Return the value as JSON text; raise OutputTooLargeError beyond max_bytes (cut JSON would be no JSON)."""
    text = orjson.dumps(clean(value), default=str)
    if len(text) > max_bytes:
        raise OutputTooLargeError(
            f"the answer would be {len(text)} bytes, more than the {max_bytes} allowed: ask for less"
        )
    return text.decode()


def clean(value: Any) -> Any:
    """Return the value with harmful characters taken out of all its strings."""
    if isinstance(value, str):
        return _HARMFUL.sub("", value) if _HARMFUL.search(value) else value
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
