"""What happened: one record per request, kept in a bounded list, and counters that stay cheap to read."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4


class RunStopped(Exception):
    """The stop endpoint ended this run."""


@dataclass(slots=True)
class McpCall:
    """One tool call as the model saw it. ``error`` is ours (transport or protocol); ``is_error`` is the server's."""

    tool: str
    arguments: dict[str, Any]
    text: str = ""
    is_error: bool = False
    error: str | None = None
    session_id_issued: bool = False
    protocol_version: str | None = None
    duration_ms: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Run:
    """One request to an app, from its arrival to its end, whoever still listens."""

    app_key: str
    mode: str
    user: str
    inputs: dict[str, Any]
    query: str
    response_mode: str
    conversation_id: str
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    trace_id: str | None = None
    # W3C trace context of the request; an instrumented Dify passes its own on.
    traceparent: str | None = None
    task_id: str = field(default_factory=lambda: str(uuid4()))
    message_id: str = field(default_factory=lambda: str(uuid4()))
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    outcome: str = "running"
    error: dict[str, Any] | None = None
    answer: str = ""
    mcp_calls: list[McpCall] = field(default_factory=list)
    hung_up: bool = False
    stopped: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    feedback: dict[str, Any] | None = None
    auto_generate_name: bool = False
    stop_asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def created_at(self) -> int:
        """Unix seconds, as every event carries them."""
        return int(self.started_at.timestamp())

    def as_dict(self) -> dict[str, Any]:
        plain = (
            "app_key", "mode", "user", "inputs", "query", "response_mode", "conversation_id", "trace_id", "task_id",
            "message_id", "outcome", "error", "answer", "hung_up", "stopped", "prompt_tokens", "completion_tokens", "feedback",
            "auto_generate_name",
        )  # fmt: skip
        shown: dict[str, Any] = {name: getattr(self, name) for name in plain}
        shown["faults"] = sorted(self.faults)
        shown["mcp_calls"] = [call.as_dict() for call in self.mcp_calls]
        shown["started_at"] = self.started_at.isoformat()
        shown["finished_at"] = self.finished_at.isoformat() if self.finished_at else None
        return shown

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the run is stopped; raises RunStopped then."""
        if self.stop_asked.is_set():
            raise RunStopped
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self.stop_asked.wait()
        except TimeoutError:
            return
        raise RunStopped


class RunLog:
    """The newest runs, the conversations they belong to, and totals since the last reset."""

    def __init__(self, keep: int) -> None:
        self.runs: deque[Run] = deque(maxlen=keep)
        self.open: dict[str, Run] = {}
        self.conversations: dict[tuple[str, str, str], None] = {}
        self.counters: Counter[str] = Counter()
        self._keep = keep

    def new_conversation(self, app_key: str, user: str) -> str:
        conversation_id = str(uuid4())
        self.conversations[(app_key, user, conversation_id)] = None
        if len(self.conversations) > self._keep:
            self.conversations.pop(next(iter(self.conversations)))
        return conversation_id

    def start(self, run: Run) -> None:
        self.runs.append(run)
        self.open[run.task_id] = run
        self.counters["runs_total"] += 1
        self.counters["titles_generated_total"] += run.auto_generate_name

    def refuse(self, run: Run, outcome: str) -> None:
        """Record a request that never became a run."""
        run.outcome, run.finished_at = outcome, datetime.now(UTC)
        self.runs.append(run)
        self.counters["refused_total"] += 1

    def hang_up(self, run: Run) -> None:
        """The caller left before the end; the run itself goes on."""
        run.hung_up = True
        self.counters["hung_up_total"] += 1

    def finish(self, run: Run) -> None:
        run.finished_at = datetime.now(UTC)
        if self.open.pop(run.task_id, None) is None:
            # Started before a reset: its end belongs to nobody's figures.
            return
        self.counters[f"outcome_{run.outcome}"] += 1
        self.counters["tokens_total"] += run.prompt_tokens + run.completion_tokens
        if run.hung_up:
            self.counters["tokens_nobody_read_total"] += run.completion_tokens

    def stop(self, app_key: str, task_id: str, user: str) -> None:
        """Ask the run of this app and user to stop; anything else is ignored, as Dify does."""
        self.counters["stop_requests_total"] += 1
        run = self.open.get(task_id)
        if run is not None and run.app_key == app_key and run.user == user:
            run.stopped = True
            run.stop_asked.set()

    def find_message(self, app_key: str, message_id: str) -> Run | None:
        return next((r for r in reversed(self.runs) if r.message_id == message_id and r.app_key == app_key), None)

    def reset(self) -> None:
        """Forget everything, and stop what still runs."""
        for run in self.open.values():
            run.stop_asked.set()
        self.runs.clear()
        self.open.clear()
        self.conversations.clear()
        self.counters.clear()
