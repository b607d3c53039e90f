"""The one place every tool call passes: who may, how often, with what, for how long, and what is written down of it."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, TextContent

from core import log_events, tracing
from core.clock import utc_now
from core.errors import AnmeiError, InvalidInputError, NotAllowedError, RateLimitedError
from core.logging import get_logger
from core.tracing import Kind
from mcp_server import outputs
from mcp_server.catalogue import Catalogue, OfferedTool
from mcp_server.limits import RateLimiter
from mcp_server.recorder import Call, CallRecorder
from models import CallOutcome
from services import mcp_settings
from services.mcp_registry import GroupEntry
from services.mcp_work import CallContext, ToolTimeoutError

# Synchronous tools run on these; more would only wait for the database's connections.
TOOL_THREADS = 8
# A statement that is cancelled ends within milliseconds; one that begins just after the cancel is cancelled again.
CANCEL_AGAIN_SECONDS = 0.1

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: the group their key opened, and what they said about themselves."""

    group: GroupEntry
    transport: str
    app_id: str | None = None
    acting_for: str | None = None
    # The caller's trace context, where traces are on.
    traceparent: str | None = None


class Answer(NamedTuple):
    """How a call ended: for the wire, and for the log."""

    outcome: CallOutcome
    text: str
    error_code: str | None = None
    error: str | None = None


class ToolRunner:
    """Runs tools and records every call. One a process."""

    def __init__(self, catalogue: Callable[[], Catalogue], limiter: RateLimiter, recorder: CallRecorder) -> None:
        self._catalogue = catalogue
        self._limiter = limiter
        self._recorder = recorder
        self._threads = ThreadPoolExecutor(TOOL_THREADS, thread_name_prefix="mcp-tool")

    async def call(
        self, caller: Caller, name: str, arguments: dict[str, Any] | None, *, protocol_version: str | None
    ) -> CallToolResult:
        """Call a tool for a client. What the tool or the arguments are to blame for is told in the result (isError).

        Raise MCPError (-32602, the same words whether it is unknown, disabled or another group's) when it is not offered.
        """
        started_at, started = utc_now(), time.perf_counter()
        context = CallContext(caller.group, acting_for=caller.acting_for)
        view = self._catalogue().groups.get(caller.group.id)
        offered = view.tools.get(name) if view is not None and view.entry.enabled else None
        if offered is None:
            reason = self._catalogue().reason_unoffered(caller.group.id, name)
            answer = Answer(reason, "", "UNKNOWN_TOOL", "not offered to this key")
        else:
            context.group, context.config = view.entry if view else caller.group, offered.entry.config
            answer = await self._traced_answer(caller, offered, context, arguments or {})
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        self._record(caller, context, name, arguments, answer, started_at, duration_ms, protocol_version)
        if offered is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {name[:128]}")
        return CallToolResult(
            content=[TextContent(type="text", text=answer.text)], is_error=answer.outcome is not CallOutcome.OK
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _traced_answer(
        self, caller: Caller, offered: OfferedTool, context: CallContext, arguments: dict[str, Any]
    ) -> Answer:
        tool = offered.entry.name
        with tracing.gathered(f"tools/call {tool}", kind=Kind.SERVER, attributes={"mcp.tool.name": tool}) as span:
            answer = await self._answer(offered, context, arguments)
            # Only now it is known whose handle it was, and so in which trace this belongs.
            if context.journey_id is not None:
                span.belongs_to([context.journey_id], parent=tracing.own_in(caller.traceparent, context.journey_id))
            if answer.outcome is not CallOutcome.OK:
                span.fail(answer.error_code or str(answer.outcome))
            return answer

    async def _answer(self, offered: OfferedTool, context: CallContext, arguments: dict[str, Any]) -> Answer:
        try:
            await self._check_rate(offered, context)
            given = offered.validated(arguments)
            value = await self._run(offered, context, given)
            return Answer(CallOutcome.OK, outputs.encode(value, mcp_settings.current().max_output_bytes))
        except InvalidInputError as error:
            return _refusal(CallOutcome.INVALID_ARGUMENTS, error)
        except RateLimitedError as error:
            return _refusal(CallOutcome.RATE_LIMITED, error)
        except NotAllowedError as error:
            return _refusal(CallOutcome.NOT_ALLOWED, error)
        except ToolTimeoutError as error:
            log.warning(log_events.MCP_TOOL_TIMEOUT, tool=offered.entry.name, group=context.group.name)
            return _refusal(CallOutcome.TIMEOUT, error)
        except AnmeiError as error:
            return _refusal(CallOutcome.ERROR, error)
        except Exception as error:
            # The edge of the process towards foreign clients: the text of an unforeseen error may hold anything, so it
            # stays in our log.
            log.exception(log_events.MCP_TOOL_FAILED, tool=offered.entry.name, group=context.group.name)
            internal = AnmeiError("the tool failed; the operators can see why")
            return _refusal(CallOutcome.ERROR, internal)._replace(error=type(error).__name__)

    async def _check_rate(self, offered: OfferedTool, context: CallContext) -> None:
        limit = int(offered.entry.config.get("calls_per_minute", mcp_settings.current().calls_per_minute))
        verdict = await self._limiter.take(context.group.key_hash.hex()[:16], offered.entry.name, limit)
        if not verdict.allowed:
            raise RateLimitedError(
                f"more than {limit} calls a minute; try again in {verdict.retry_after_seconds} s",
                retry_after_seconds=verdict.retry_after_seconds,
            )

    async def _run(self, offered: OfferedTool, context: CallContext, given: dict[str, Any]) -> Any:
        """Run the function within the tool's time; raise ToolTimeoutError when that is up.

        An async function is cancelled where it waits. A synchronous one has its database statements cancelled on the
        server and can open no further session; a loop that touches no database cannot be stopped and keeps its thread.
        """
        work = partial(offered.function.call, context, **given)
        try:
            async with asyncio.timeout(offered.entry.timeout_seconds):
                if offered.function.is_async:
                    return await work()
                future = self._threads.submit(tracing.carried(work))
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not offered.function.is_async:
                _cancel_until_done(context, future.done)
            raise ToolTimeoutError(
                f"the tool took longer than its {offered.entry.timeout_seconds:g} s and was cancelled"
            ) from None
        except asyncio.CancelledError:
            # The client hung up on a stream: nobody waits for the answer any more.
            if not offered.function.is_async:
                _cancel_until_done(context, future.done)
            raise

    def _record(
        self,
        caller: Caller,
        context: CallContext,
        name: str,
        arguments: dict[str, Any] | None,
        answer: Answer,
        started_at: datetime,
        duration_ms: float,
        protocol_version: str | None,
    ) -> None:
        self._recorder.record(
            Call(
                created_at=started_at,
                tool_name=name,
                group_id=caller.group.id,
                group_name=caller.group.name,
                journey_id=context.journey_id,
                caller_app_id=caller.app_id,
                transport=caller.transport,
                protocol_version=protocol_version,
                outcome=answer.outcome,
                duration_ms=duration_ms,
                arguments=arguments,
                response=answer.text,
                error_code=answer.error_code,
                error=answer.error,
            )
        )


current_caller: ContextVar[Caller | None] = ContextVar("mcp_caller", default=None)


def _refusal(outcome: CallOutcome, error: AnmeiError) -> Answer:
    told: dict[str, Any] = {"error": error.message, "error_code": error.code}
    if isinstance(error, RateLimitedError):
        told["retry_after_seconds"] = error.retry_after_seconds
    return Answer(outcome, outputs.encode(told, 1024 * 1024), error.code, error.message)


def _cancel_until_done(context: CallContext, done: Callable[[], bool]) -> None:
    """Cancel what the call's thread is doing, and what it may begin in the moment before it notices."""

    def cancel() -> None:
        ended = threading.Event()
        while not done():
            context.cancel()
            ended.wait(CANCEL_AGAIN_SECONDS)

    threading.Thread(target=cancel, name="mcp-cancel", daemon=True).start()
