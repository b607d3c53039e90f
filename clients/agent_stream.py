"""One streamed run, whatever the provider: its deadline, its end, and what happens when we give it up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

from clients import agent_limits as limits
from clients.agent_codes import AgentCode
from clients.agent_errors import AgentError, agent_error, shown
from clients.agent_loop import AgentLoop
from clients.agent_types import AgentAnswer, Draft
from clients.delta_relay import DeltaRelay
from clients.sse import SseEvent, SseParser, SseTooLargeError
from core import log_events
from core.errors import AgentPermanentError, AgentTransientError
from core.logging import get_logger

if TYPE_CHECKING:
    from clients.agent_http import Reply

log = get_logger(__name__)


class Transcript(Protocol):
    """What a provider's events add up to. Pure: no network, no clock."""

    task_id: str | None
    # Whether any text has come, shown or held back.
    speaking: bool

    def take(self, event: SseEvent) -> str:
        """Account for one event and return the piece of text that may be shown at once, often none."""

    @property
    def finished(self) -> bool:
        """Tell whether the terminal event was seen, so that nothing that follows matters."""

    @property
    def over(self) -> bool:
        """Tell whether the run has ended at the provider, well or not, so that there is nothing to stop."""

    def draft(self) -> Draft:
        """Return the final text and its figures; raise the error the run ended with."""


@dataclass(slots=True)
class StreamCall:
    """A run about to be asked for. `refuse` maps an error response; `stop` ends a run at the provider by its id."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    key: SecretStr
    transcript: Transcript
    refuse: Callable[[int, bytes], AgentError]
    stop: Callable[[str], Awaitable[None]] | None = None
    named: asyncio.Event = field(default_factory=asyncio.Event)
    first_token_at: float | None = None


async def run(loop: AgentLoop, call: StreamCall, timeout_seconds: float, relay: DeltaRelay | None) -> AgentAnswer:
    """Return the run's answer within the timeout. On timeout, cancellation or a broken stream the run is stopped, too."""
    started = time.monotonic()
    # A task of its own: a run that has not told its id yet must be read on, or it could not be stopped.
    reader = asyncio.create_task(_read(loop, call, relay))
    try:
        await asyncio.wait((reader,), timeout=timeout_seconds)
        if not reader.done():
            raise agent_error(AgentCode.TIMEOUT, f"the agent did not finish within {timeout_seconds:g} s")
        reader.result()
        draft = call.transcript.draft()
    except BaseException:
        # Whatever it is, nobody will hear the run any more.
        _give_up(loop, call, reader, relay)
        raise
    latency_ms = _ms(time.monotonic() - started)
    if relay is not None:
        await relay.finish()
    return AgentAnswer(
        text=draft.text,
        task_id=call.transcript.task_id,
        message_id=draft.message_id,
        conversation_id=draft.conversation_id,
        usage=draft.usage,
        first_token_ms=None if call.first_token_at is None else _ms(call.first_token_at - started),
        latency_ms=latency_ms,
        tools=draft.tools,
        moderated=draft.moderated,
    )


async def _read(loop: AgentLoop, call: StreamCall, relay: DeltaRelay | None) -> None:
    """Read events until the terminal one; raise our errors only."""
    http = loop.http
    await http.enter()
    try:
        reply = await http.open("POST", call.url, call.headers, call.body)
        try:
            if reply.status != 200:
                raise call.refuse(reply.status, await reply.read_up_to(limits.MAX_ERROR_BYTES))
            _require_events(reply, call.key)
            await _read_events(reply, call, relay)
        except BaseException:
            reply.close()
            raise
        reply.leave_to_end()
    except SseTooLargeError:
        raise agent_error(AgentCode.RESPONSE_TOO_LARGE, "the agent sent an event larger than allowed") from None
    finally:
        http.leave()


async def _read_events(reply: "Reply", call: StreamCall, relay: DeltaRelay | None) -> None:
    parser, transcript, received = SseParser(), call.transcript, 0
    while piece := await reply.read():
        received += len(piece)
        if received > limits.MAX_RESPONSE_BYTES:
            message = f"the agent sent more than {limits.MAX_RESPONSE_BYTES} bytes"
            raise agent_error(AgentCode.RESPONSE_TOO_LARGE, message)
        for event in parser.feed(piece):
            _take(call, relay, event)
        if transcript.finished:
            return
    for event in parser.close():
        _take(call, relay, event)


def _take(call: StreamCall, relay: DeltaRelay | None, event: SseEvent) -> None:
    piece = call.transcript.take(event)
    if call.transcript.task_id is not None:
        call.named.set()
    if call.first_token_at is None and call.transcript.speaking:
        call.first_token_at = time.monotonic()
    if piece and relay is not None:
        relay.push(piece)


def _require_events(reply: "Reply", key: SecretStr) -> None:
    """Refuse a 200 that is no event stream: a proxy's page, or a compressed body whose size we could not bound."""
    kind = reply.media_type
    if kind != "text/event-stream":
        raise agent_error(AgentCode.BAD_RESPONSE, f"the agent answered with {shown(kind, key) or 'no content type'}")
    if reply.encoding != "identity":
        raise agent_error(AgentCode.BAD_RESPONSE, "the agent answered with an encoding we did not ask for")


def _give_up(loop: AgentLoop, call: StreamCall, reader: "asyncio.Task[None]", relay: DeltaRelay | None) -> None:
    if relay is not None:
        relay.close()
    loop.spawn(_abandon(call, reader))


async def _abandon(call: StreamCall, reader: "asyncio.Task[None]") -> None:
    """End a run nobody waits for. Hanging up alone does not: the run would go on, spend tokens and call our tools."""
    if call.stop is not None and not call.named.is_set() and not reader.done():
        naming = asyncio.create_task(call.named.wait())
        try:
            await asyncio.wait({naming, reader}, timeout=limits.NAME_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            naming.cancel()
            reader.cancel()
    reader.cancel()
    # Waited for, not awaited: the reader's own failure was already reported, or nobody asks for it any more.
    await asyncio.wait({reader})
    if not reader.cancelled():
        reader.exception()
    task_id = call.transcript.task_id
    if call.stop is None or task_id is None or call.transcript.over:
        return
    await _stop(call.stop, task_id)


async def _stop(stop: Callable[[str], Awaitable[None]], task_id: str) -> None:
    for attempt in range(1, limits.STOP_TRIES + 1):
        try:
            async with asyncio.timeout(limits.STOP_SECONDS):
                await stop(task_id)
        except (TimeoutError, AgentTransientError, AgentPermanentError) as error:
            code = AgentCode.TIMEOUT if isinstance(error, TimeoutError) else error.code
            log.warning(log_events.AGENT_STOP_FAILED, task_id=task_id, attempt=attempt, error=code)
        else:
            log.info(log_events.AGENT_STOPPED, task_id=task_id)
            return


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
