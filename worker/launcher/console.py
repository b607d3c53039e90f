"""What a person at the console sees: one line after the other, each with the process it came from."""

import json
import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Protocol

from core.clock import utc_now
from core.masking import masked_text

# Told apart at a glance; the launcher's own lines are bold.
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_LABEL_WIDTH = 15
LAUNCHER = "anmei"
# What was said lately, for whoever comes later (`anmei support-bundle`); as much again in the file before it.
KEPT_FILE = "stack.log"
KEPT_BYTES = 4 << 20


class Console(Protocol):
    """Where the launcher and its children write."""

    def say(self, text: str) -> None:
        """Show a line of the launcher's own."""

    def child_line(self, label: str, line: str) -> None:
        """Show a line of a child."""


class PrefixedConsole:
    """Lines with a label in front; coloured on a terminal only. JSON lines pass as they are when logs are JSON."""

    def __init__(self, stream: IO[str] | None = None, *, json_logs: bool = False, keep_in: Path | None = None) -> None:
        self._stream = stream or sys.stdout
        self._coloured = self._stream.isatty()
        self._json_logs = json_logs
        self._colours: dict[str, int] = {}
        self._kept = _KeptLines(keep_in / KEPT_FILE) if keep_in is not None else None

    def say(self, text: str) -> None:
        if self._json_logs:
            said = {"event": "launcher", "message": text, "level": "info", "role": LAUNCHER}
            self._print(json.dumps(said | {"timestamp": utc_now().isoformat()}, ensure_ascii=False))
            return
        for line in text.splitlines():
            self._write(LAUNCHER, line)

    def child_line(self, label: str, line: str) -> None:
        if self._json_logs and line.startswith("{"):
            self._print(line)
        else:
            self._write(label, line)

    def _write(self, label: str, line: str) -> None:
        prefix = f"{label:<{_LABEL_WIDTH}} | "
        if self._coloured:
            prefix = f"\x1b[{self._colour(label)}m{prefix}\x1b[0m"
        self._print(prefix + line)

    def _colour(self, label: str) -> int:
        if label == LAUNCHER:
            return 1
        return self._colours.setdefault(label, _COLOURS[len(self._colours) % len(_COLOURS)])

    def _print(self, line: str) -> None:
        if self._kept is not None:
            self._kept.keep(line)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            # Whoever read our output has left (`anmei up | head`); the stack does not depend on being watched.
            self._stream = open("/dev/null", "w")  # noqa: SIM115 - lives as long as the process


class _KeptLines:
    """The last lines in a file that only its owner reads; passwords the launcher shows are not among them."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._file = RotatingFileHandler(path, maxBytes=KEPT_BYTES, backupCount=1, encoding="utf-8")

    def keep(self, line: str) -> None:
        record = logging.LogRecord(LAUNCHER, logging.INFO, "", 0, masked_text(line), (), None)
        self._file.handle(record)
