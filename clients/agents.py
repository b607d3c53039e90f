"""Agents as services call them: start a run, get a future. Synchronous outside, one event loop a process inside.

The futures fail only with core.errors.AgentTransientError or AgentPermanentError; their codes are in
clients.agent_codes.AgentCode. Cancelling a future, or its timeout, stops the run at the provider.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from clients import agent_loop, dify, openai_compatible
from clients.agent_codes import BOUNDED_RETRY_CODES, MAX_BOUNDED_RETRIES, AgentCode
from clients.agent_errors import agent_error
from clients.agent_loop import AgentLoop, shutdown
from clients.agent_types import AgentAnswer, AgentInfo, AgentRequest, AgentTarget
from clients.delta_relay import DeltaRelay
from core import tracing
from core.tracing import AnySpan, Kind

__all__ = [
    "BOUNDED_RETRY_CODES",
    "MAX_BOUNDED_RETRIES",
    "AgentAnswer",
    "AgentCode",
    "AgentInfo",
    "AgentRequest",
    "AgentTarget",
    "feedback",
    "info",
    "parameters",
    "shutdown",
    "start",
]


class Provider(Protocol):
    """One kind of agent service. All raise our two errors only."""

    async def run(self, loop: AgentLoop, request: AgentRequest, relay: DeltaRelay | None) -> AgentAnswer: ...

    async def info(self, loop: AgentLoop, target: AgentTarget) -> AgentInfo: ...

    async def parameters(self, loop: AgentLoop, target: AgentTarget) -> Mapping[str, Any]: ...

    async def feedback(
        self,
        loop: AgentLoop,
        target: AgentTarget,
        *,
        message_id: str,
        user: str,
        rating: str | None,
        content: str | None,
    ) -> None: ...


_PROVIDERS: dict[str, Provider] = {"dify": dify, "openai_compatible": openai_compatible}
PROVIDER_NAMES = tuple(_PROVIDERS)


def start(request: AgentRequest, on_delta: Callable[[str], None] | None = None) -> "Future[AgentAnswer]":
    """Start a run and return at once; hundreds may be open, at no thread each.

    `on_delta` gets the text as it is written, in order, on a thread of its own; it is a preview that no guard has seen
    and that the answer need not repeat. `future.cancel()` works while the run is on, and stops it.
    """

    if tracing.enabled() and request.trace_id:
        return _traced(request, on_delta)
    return _start(request, on_delta)


def _start(request: AgentRequest, on_delta: Callable[[str], None] | None) -> "Future[AgentAnswer]":
    async def work(loop: AgentLoop) -> AgentAnswer:
        relay = None if on_delta is None else DeltaRelay(on_delta, loop.deltas)
        return await _provider(request.target).run(loop, request, relay)

    return agent_loop.current().submit(work)


def _traced(request: AgentRequest, on_delta: Callable[[str], None] | None) -> "Future[AgentAnswer]":
    """Start the run in a span whose context the agent is given, so that what it calls of ours is found below it."""
    about = {
        "gen_ai.provider.name": request.target.provider,
        "server.address": urlsplit(request.target.base_url).netloc,
    }
    span = tracing.span("agent call", [UUID(request.trace_id)], kind=Kind.CLIENT, attributes=about)
    future = _start(replace(request, traceparent=span.traceparent()), on_delta)
    future.add_done_callback(lambda ended: _end(span, ended))
    return future


def _end(span: AnySpan, ended: "Future[AgentAnswer]") -> None:
    if ended.cancelled():
        span.end("cancelled")
        return
    error = ended.exception()
    span.end(getattr(error, "code", None) or error)


def info(target: AgentTarget) -> "Future[AgentInfo]":
    """Ask what the key belongs to: proves address, key and mode without a paid run."""
    return agent_loop.current().submit(lambda loop: _provider(target).info(loop, target))


def parameters(target: AgentTarget) -> "Future[Mapping[str, Any]]":
    """Ask for the application's parameters, among them the inputs it declares."""
    return agent_loop.current().submit(lambda loop: _provider(target).parameters(loop, target))


def feedback(
    target: AgentTarget, *, message_id: str, user: str, rating: str | None, content: str | None = None
) -> "Future[None]":
    """Pass a customer's rating on: `like`, `dislike`, or None to take one back. `user` is the run's own."""

    async def work(loop: AgentLoop) -> None:
        if rating not in dify.RATINGS:
            raise agent_error(AgentCode.BAD_REQUEST, "a rating is like, dislike or none")
        await _provider(target).feedback(loop, target, message_id=message_id, user=user, rating=rating, content=content)

    return agent_loop.current().submit(work)


def _provider(target: AgentTarget) -> Provider:
    try:
        return _PROVIDERS[target.provider]
    except KeyError:
        raise agent_error(AgentCode.UNSUPPORTED, f"there is no provider kind {target.provider[:40]!r}") from None
