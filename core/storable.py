"""What PostgreSQL's text and jsonb can hold."""

from math import isfinite
from typing import Any


def storable(value: Any) -> Any:
    """Return the value, looked through to the bottom; raise ValueError for NUL, unpaired surrogates and infinite numbers."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("must not contain the NUL character (U+0000)")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("must not contain unpaired surrogates")
    elif isinstance(value, float) and not isfinite(value):
        raise ValueError("must be a finite number")
    elif isinstance(value, dict):
        for key, item in value.items():
            storable(key)
            storable(item)
    elif isinstance(value, list | tuple):
        for item in value:
            storable(item)
    return value
