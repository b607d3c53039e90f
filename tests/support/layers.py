"""Settings as changes laid over others, for stacks that are seeded from outside."""

from collections.abc import Mapping
from typing import Any


def laid_over(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the changes laid over them, part by part."""
    merged = dict(values)
    for name, change in changes.items():
        old = merged.get(name)
        merged[name] = laid_over(old, change) if isinstance(old, dict) and isinstance(change, dict) else change
    return merged
