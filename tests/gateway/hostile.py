"""The corpus of names and profile texts nobody wishes for."""

import json
from pathlib import Path
from typing import Any

import pytest

_ENTRIES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("hostile_texts.json").read_text())
TEXTS: list[str] = [entry["text"] * entry.get("repeat", 1) for entry in _ENTRIES]

each_hostile_text = pytest.mark.parametrize(
    "hostile", TEXTS, ids=[f"{entry['kind']}-{number}" for number, entry in enumerate(_ENTRIES)]
)
