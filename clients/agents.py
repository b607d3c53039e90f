"""Agents as services call them: start a run, get a future. Synchronous outside, one event loop a process inside.

The futures fail only with core.errors.AgentTransientError or AgentPermanentError; their codes are in
clients.agent_codes.AgentCode. Cancelling a future, or its timeout, stops the run at the provider.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from clients import agent_loop, dify, openai_compatible
from clients.agent_codes import BOUNDED_RETRY_CODES, MAX_BOUNDED_RETRIES, AgentCode
from clients.agent_errors import agent_error
from clients.agent_loop import AgentLoop, Work, shutdown
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
    "start_many",
]

OnDelta = Callable[[str], None]


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


def start(request: AgentRequest, on_delta: OnDelta | None = None) -> "Future[AgentAnswer]":
    """Start a run and return at once; hundreds may be open, at no thread each.

    `on_delta` gets the text as it is written, in order, on a thread of its own, once the answer has been going on for a
    moment (delta_relay.PREVIEW_AFTER_SECONDS): of a fast answer it gets nothing. It is a preview that no guard has seen and
    that the answer need not repeat. `future.cancel()` works while the run is on, and stops it.
    """
    (future,) = start_many([(request, on_delta)])
    return future


def start_many(asked: Sequence[tuple[AgentRequest, OnDelta | None]]) -> "list[Future[AgentAnswer]]":
    """Start several runs, each as `start` does, and wake the loop once for all; the futures are in the same order."""
    spans = [_span_of(request) for request, _ in asked] if tracing.enabled() else [None] * len(asked)
    works = [_run_of(request, on_delta, span) for (request, on_delta), span in zip(asked, spans, strict=True)]
    futures = agent_loop.current().submit_many(works)
    for future, span in zip(futures, spans, strict=True):
        if span is not None:
            future.add_done_callback(partial(_end, span))
    return futures


def _run_of(request: AgentRequest, on_delta: OnDelta | None, span: AnySpan | None) -> Work[AgentAnswer]:
    if span is not None:
        # The agent is given the span's context, so that what it calls of ours is found below it.
        request = replace(request, traceparent=span.traceparent())

    async def work(loop: AgentLoop) -> AgentAnswer:
        relay = None if on_delta is None else DeltaRelay(on_delta, loop.deltas)
        return await _provider(request.target).run(loop, request, relay)

    return work


def _span_of(request: AgentRequest) -> AnySpan | None:
    if not request.trace_id:
        return None
    about = {
        "gen_ai.provider.name": request.target.provider,
        "server.address": urlsplit(request.target.base_url).netloc,
    }
    return tracing.span("agent call", [UUID(request.trace_id)], kind=Kind.CLIENT, attributes=about)


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
