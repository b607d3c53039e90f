"""The call log's writer: calls are noted in memory and stored in batches by one thread a process."""

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.exc import SQLAlchemyError

from core import log_events
from core.errors import AnmeiError
from core.ids import new_id
from core.logging import get_logger
from core.settings import get_settings
from mcp_server import masking
from models import CallOutcome
from services import mcp_calls, mcp_settings

# A row is stored this long after its call at the latest, while the database is there; at once where none was stored for
# this long. So a killed process loses a lone call only within its own transaction, and a busy one no more than this.
INTERVAL_SECONDS = 0.2
BATCH_ROWS = 500
RETRY_SECONDS = 0.5
# What waits beyond this goes to a file in the data directory: memory stays bounded however long the database is away.
MAX_WAITING_ROWS = 20_000
STOP_SECONDS = 5.0
# Named by an id: in a container every start has the same process number.
_SPILL = "mcp-call-log-{id}.jsonl"

log = get_logger(__name__)


@dataclass(slots=True)
class Call:
    """One call as it happened; masked and capped when it is stored."""

    created_at: datetime
    tool_name: str
    group_id: UUID
    group_name: str
    journey_id: UUID | None
    caller_app_id: str | None
    transport: str
    protocol_version: str | None
    outcome: CallOutcome
    duration_ms: float
    arguments: dict[str, Any] | None
    response: str | None
    error_code: str | None
    error: str | None


class CallRecorder:
    """Takes calls from any thread without waiting, and loses none: not to a bad row, not to SIGTERM, not to a database away."""

    def __init__(self) -> None:
        self._waiting: deque[dict[str, Any]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._stored_at = float("-inf")
        self.recorded = 0
        self.stored = 0

    def start(self) -> None:
        """Begin storing; rows an earlier process left in files are stored first."""
        self._thread = threading.Thread(target=self._run, name="mcp-call-log", daemon=True)
        self._thread.start()

    def record(self, call: Call) -> None:
        """Note a call. Returns at once; the row is stored within INTERVAL_SECONDS."""
        self._waiting.append(_row_of(call))
        self.recorded += 1
        if len(self._waiting) >= BATCH_ROWS or time.monotonic() - self._stored_at >= INTERVAL_SECONDS:
            self._wake.set()

    def store_now(self) -> None:
        """Store what is waiting, on the caller's thread; for single calls without a started writer."""
        self._drain(give_up_at=time.monotonic() + STOP_SECONDS)

    def stop(self) -> None:
        """Store what is waiting, or put it into a file where the database is away; return when that is done."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS + 2)
        self._spill(self._take(len(self._waiting)))

    def _run(self) -> None:
        self._restore()
        while not self._stopping:
            self._wake.wait(INTERVAL_SECONDS)
            self._wake.clear()
            self._drain(give_up_at=None)
        self._drain(give_up_at=time.monotonic() + STOP_SECONDS)

    def _drain(self, give_up_at: float | None) -> None:
        while batch := self._take(BATCH_ROWS):
            while not self._stored(batch):
                if give_up_at is not None and time.monotonic() > give_up_at:
                    # All of it: what stays in memory is lost with a process that is killed.
                    self._spill([*batch, *self._take(len(self._waiting))])
                    return
                if len(self._waiting) > MAX_WAITING_ROWS:
                    self._spill(batch)
                    batch = self._take(MAX_WAITING_ROWS)
                    self._spill(batch)
                    break
                if self._stopping and give_up_at is None:
                    give_up_at = time.monotonic() + STOP_SECONDS
                time.sleep(RETRY_SECONDS)
            self._stored_at = time.monotonic()

    def _stored(self, batch: list[dict[str, Any]]) -> bool:
        """Store the batch; False means that the database is away and the same batch has to come again."""
        try:
            self.stored += mcp_calls.store(batch)
        except AnmeiError as error:
            log.warning(log_events.MCP_CALL_LOG_LATE, waiting=len(self._waiting) + len(batch), error=error.code)
            return False
        except SQLAlchemyError:
            # The database refused a row: it must not take the others with it.
            return self._store_singly(batch)
        return True

    def _store_singly(self, batch: Sequence[dict[str, Any]]) -> bool:
        for row in batch:
            try:
                self.stored += mcp_calls.store([row])
            except AnmeiError:
                return False
            except SQLAlchemyError as error:
                log.error(log_events.MCP_CALL_LOG_ROW_REPAIRED, call_id=str(row["id"]), error=type(error).__name__)
                try:
                    self.stored += mcp_calls.store([_bare(row)])
                except AnmeiError:
                    return False
        return True

    def _take(self, most: int) -> list[dict[str, Any]]:
        taken: list[dict[str, Any]] = []
        while self._waiting and len(taken) < most:
            taken.append(self._waiting.popleft())
        return taken

    def _spill(self, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        path = _directory() / _SPILL.format(id=new_id())
        # Whole before it has its name: a start beside this one must not take half of it.
        partial = path.with_suffix(".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(orjson.dumps(row) + b"\n" for row in rows)
        partial.rename(path)
        log.error(log_events.MCP_CALL_LOG_SPILLED, rows=len(rows), path=str(path))

    def _restore(self) -> None:
        for path in sorted(_directory().glob(_SPILL.format(id="*"))):
            with contextlib.ExitStack() as held:
                try:
                    # Of several processes starting at once, one gets the file. Killed meanwhile, it leaves it to the next
                    # start: a row that was stored is not stored again.
                    file = held.enter_context(path.open("rb"))
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (FileNotFoundError, BlockingIOError):
                    continue
                if path.exists():
                    self._restore_file(path, file.read())

    def _restore_file(self, path: Path, content: bytes) -> None:
        try:
            rows = [_restored(line) for line in content.splitlines()]
        except (ValueError, KeyError, TypeError) as error:
            # Kept for a person to look at, out of the way of the next start and of the files beside it.
            aside = path.rename(path.with_suffix(".unreadable"))
            log.error(log_events.MCP_CALL_LOG_UNREADABLE, path=str(aside), error=type(error).__name__)
            return
        self._waiting.extend(rows)
        self._drain(give_up_at=time.monotonic() + STOP_SECONDS)
        path.unlink()
        log.info(log_events.MCP_CALL_LOG_RESTORED, rows=len(rows))


def _directory() -> Path:
    directory = get_settings().data_dir
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _row_of(call: Call) -> dict[str, Any]:
    most = mcp_settings.current().log_payload_bytes
    return {
        "id": new_id(),
        "created_at": call.created_at,
        "tool_name": masking.masked_text(call.tool_name[:128]),
        "group_id": call.group_id,
        "group_name": call.group_name,
        "journey_id": call.journey_id,
        "caller_app_id": masking.masked_text(call.caller_app_id[:128]) if call.caller_app_id else None,
        "transport": call.transport,
        "protocol_version": call.protocol_version,
        "outcome": str(call.outcome),
        "success": call.outcome is CallOutcome.OK,
        "duration_ms": call.duration_ms,
        "request": masking.masked_arguments(call.arguments, most),
        "response": masking.masked_response(call.response, most),
        "error_code": call.error_code,
        "error": masking.masked_text(call.error[:500]) if call.error else None,
    }


def _bare(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"request": None, "response": None, "error": "the payload could not be stored", "caller_app_id": None}


def _restored(line: bytes) -> dict[str, Any]:
    row: dict[str, Any] = orjson.loads(line)
    row["created_at"] = datetime.fromisoformat(row["created_at"])
    for name in ("id", "group_id", "journey_id"):
        row[name] = UUID(row[name]) if row[name] is not None else None
    return row
