"""Traces: one per journey, whose ids follow from the journey's own, so that whoever works on it adds to the same tree.

The journey's id, a UUIDv7, is the trace's id. A span's id is 64 bits of the work's own XOR the journey's last 64: one piece
of work over a set of journeys is one span in each of their traces. The root's own bits are zero and a message's follow
from its id, so that any process can name them: nothing is carried along, and a message that was lost and sent again
joins the same tree. Off, at the cost of one check, unless an OTLP endpoint is set.
"""

import contextvars
import os
import random
import time
from collections.abc import Callable, Collection
from enum import StrEnum
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar
from uuid import UUID

from core.settings import get_settings

P = ParamSpec("P")
T = TypeVar("T")

# The own bits of a trace's first span.
ROOT = 0
_LAST_64 = (1 << 64) - 1
# The last 62 bits of a UUIDv7 are random (RFC 9562); the two before them are not.
_RANDOM_BITS = 62


class Kind(StrEnum):
    """What a span is to its neighbours, in OpenTelemetry's words."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Sink(Protocol):
    """Takes ended spans; must not wait."""

    def add(
        self,
        name: str,
        *,
        kind: Kind,
        trace_id: int,
        span_id: int,
        parent_id: int | None,
        started_ns: int,
        ended_ns: int,
        attributes: dict[str, Any],
        error: str | None,
        link: tuple[int, int] | None,
    ) -> None: ...

    def close(self) -> None: ...


@lru_cache(maxsize=1)
def enabled() -> bool:
    """Tell whether spans are sent anywhere."""
    return bool(get_settings().otlp_endpoint)


class Span:
    """One piece of work over some journeys; a context manager, or ended by hand. What is begun inside it is its child."""

    def __init__(
        self,
        name: str,
        journeys: Collection[UUID] | None,
        *,
        kind: Kind,
        own: int | None,
        parent: int | None,
        attributes: dict[str, Any],
        group: "Gathered | None" = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.own = own if own is not None else random.getrandbits(64) or 1
        self.attributes = attributes
        above = _current.get()
        inherited = journeys is None and above is not None
        self.journeys: Collection[UUID] = above.journeys if above is not None and inherited else (journeys or ())
        self._group: Gathered | None = above._group if above is not None and inherited else group
        covered = above is not None and (inherited or set(self.journeys) <= set(above.journeys))
        self._parent = parent if parent is not None else above.own if above is not None and covered else None
        self._homes = {} if self._parent is not None else {one: _homes[one] for one in self.journeys if one in _homes}
        self._started_ns = time.time_ns()
        self._ended_ns = 0
        self._error: str | None = None
        self._token: contextvars.Token[Span | None] | None = None

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
        self.end(error)

    def end(self, error: BaseException | str | None = None) -> None:
        """End it now; of an error the name alone is told, as its text may quote personal data."""
        self._ended_ns = time.time_ns()
        if error is not None:
            self._error = type(error).__name__ if isinstance(error, BaseException) else error
        if self._group is not None and not self._group.closed:
            self._group.ended.append(self)
        else:
            self.emit(self.journeys if self._group is None else self._group.journeys)

    def fail(self, reason: str) -> None:
        """Note that it failed, without an error to raise."""
        self._error = reason

    def belongs_to(self, journeys: Collection[UUID], *, parent: int | None = None) -> None:
        """Nothing to tell: only a `gathered` span learns later whose it is."""

    def traceparent(self) -> str | None:
        """Return the W3C header that makes a callee's spans children of this one; None unless it is about one journey."""
        for journey in self.journeys:
            return f"00-{journey.int:032x}-{span_id(self.own, journey):016x}-{'01' if _sampled(journey) else '00'}"
        return None

    def _parent_for(self, journey: UUID) -> int:
        return self._parent if self._parent is not None else self._homes.get(journey, ROOT)

    def emit(self, journeys: Collection[UUID]) -> None:
        for journey in journeys:
            if _sampled(journey):
                _sink().add(
                    self.name,
                    kind=self.kind,
                    trace_id=journey.int,
                    span_id=span_id(self.own, journey),
                    parent_id=None if self.own == ROOT else span_id(self._parent_for(journey), journey),
                    started_ns=self._started_ns,
                    ended_ns=self._ended_ns,
                    attributes=self.attributes,
                    error=self._error,
                    link=None,
                )


class Gathered(Span):
    """Work of which it is only known at its end whose it was: it and all inside it wait until then, or are dropped."""

    def __init__(self, name: str, *, kind: Kind, attributes: dict[str, Any]) -> None:
        self.ended: list[Span] = []
        self.closed = False
        super().__init__(name, (), kind=kind, own=None, parent=ROOT, attributes=attributes, group=self)

    def belongs_to(self, journeys: Collection[UUID], *, parent: int | None = None) -> None:
        """Say whose work it was; called before its end."""
        self.journeys = list(journeys)
        self._parent = ROOT if parent is None else parent

    def end(self, error: BaseException | str | None = None) -> None:
        super().end(error)
        self.closed = True
        for span in self.ended:
            span.emit(self.journeys)
        self.ended.clear()


class _Off:
    """What every call returns while tracing is off."""

    own = ROOT

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def end(self, error: BaseException | str | None = None) -> None:
        return None

    def fail(self, reason: str) -> None:
        return None

    def belongs_to(self, journeys: Collection[UUID], *, parent: int | None = None) -> None:
        return None

    def traceparent(self) -> str | None:
        return None


AnySpan = Span | _Off
_OFF = _Off()
# Own bits of the span each journey's work in this process belongs to, whichever thread does it.
_homes: dict[UUID, int] = {}
_current: contextvars.ContextVar[Span | None] = contextvars.ContextVar("span", default=None)


def span(
    name: str,
    journeys: Collection[UUID] | None = None,
    *,
    kind: Kind = Kind.INTERNAL,
    own: int | None = None,
    parent: int | None = None,
    attributes: dict[str, Any] | None = None,
) -> AnySpan:
    """Begin a piece of work: of these journeys, or of those of the span it happens in; in none, nothing is recorded.

    `own` and `parent` are own bits (see the module), where they follow from something else than chance and nesting.
    Attributes must hold neither secrets nor personal data.
    """
    if not enabled() or (journeys is None and _current.get() is None):
        return _OFF
    return Span(name, journeys, kind=kind, own=own, parent=parent, attributes=attributes or {})


def gathered(name: str, *, kind: Kind = Kind.INTERNAL, attributes: dict[str, Any] | None = None) -> AnySpan:
    """Begin work that will know only later whose it is; it says so with `belongs_to`, or nothing is recorded."""
    return Gathered(name, kind=kind, attributes=attributes or {}) if enabled() else _OFF


def root(name: str, journey: UUID, *, started_ns: int, traceparent: str | None = None) -> None:
    """Record the first span of a journey's trace, ended now. A caller's own trace is linked: it keeps its id, we ours."""
    if not enabled() or not _sampled(journey):
        return
    _sink().add(
        name,
        kind=Kind.SERVER,
        trace_id=journey.int,
        span_id=span_id(ROOT, journey),
        parent_id=None,
        started_ns=started_ns,
        ended_ns=time.time_ns(),
        attributes={},
        error=None,
        link=_parsed(traceparent),
    )


def adopt(journeys: Collection[UUID], own: int) -> None:
    """Let what is begun of these journeys outside of any span, on other threads, be children of the span with these bits."""
    for journey in journeys:
        # A second message about a journey finds its step taken: the work is the first one's.
        _homes.setdefault(journey, own)


def leave(journeys: Collection[UUID], own: int) -> None:
    """End an `adopt`."""
    for journey in journeys:
        if _homes.get(journey) == own:
            del _homes[journey]


def own_of_message(message_id: str) -> int:
    """Return the own bits of the span that sent the message with this id (a UUID's text)."""
    return UUID(message_id).int & _LAST_64


def own_in(traceparent: str | None, journey: UUID) -> int:
    """Return the own bits a caller named in its header; the root's where it named none, or another trace.

    So a stranger's header can put nothing into a trace that is not about its own journey.
    """
    named = _parsed(traceparent)
    return span_id(named[1], journey) if named is not None and named[0] == journey.int else ROOT


def span_id(own: int, journey: UUID) -> int:
    """Return a span's id in the journey's trace; its own inverse: of a span's id it returns the own bits."""
    return (own ^ journey.int) & _LAST_64


def trace_id(journey: UUID | str) -> str:
    """Return the 32 digits of the journey's trace."""
    return UUID(str(journey)).hex


def carried(work: Callable[P, T]) -> Callable[P, T]:
    """Return the work such that it runs, on whatever thread, inside the span that is current here."""
    if _current.get() is None:
        return work
    return partial(contextvars.copy_context().run, work)


def flush() -> None:
    """Send what was recorded, for a process that is about to end without an interpreter's exit. Bounded in time."""
    if _sink.cache_info().currsize:
        _sink().close()
        _sink.cache_clear()


def _sampled(journey: UUID) -> bool:
    ratio = get_settings().trace_ratio
    return ratio >= 1 or (journey.int & ((1 << _RANDOM_BITS) - 1)) < ratio * (1 << _RANDOM_BITS)


def _parsed(traceparent: str | None) -> tuple[int, int] | None:
    """Return trace and span id of a W3C traceparent header, None when it is none."""
    parts = (traceparent or "").split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    try:
        trace, parent = int(parts[1], 16), int(parts[2], 16)
    except ValueError:
        return None
    return (trace, parent) if trace and parent else None


@lru_cache(maxsize=1)
def _sink() -> Sink:
    # Loaded here: a process without an endpoint never pays for it.
    from core.otlp import OtlpSink

    return OtlpSink(str(get_settings().otlp_endpoint))


# The parent's thread and connection do not live on in a forked child.
os.register_at_fork(after_in_child=_sink.cache_clear)
