"""Where ended spans go: OpenTelemetry's exporter, in batches, from a thread of its own. Loaded only where traces are on."""

import atexit
import os
import socket
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from core.logging import current_role
from core.tracing import Kind

# A span is seen this long after its end at the latest, and a killed process loses no more than this.
SEND_EVERY_MS = 1000
# What waits beyond this is dropped: memory stays bounded however long the collector is away.
MAX_WAITING = 20_000
# At a process's end a collector that is away may not hold it up.
TIMEOUT_SECONDS = 2

_KINDS = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.PRODUCER: SpanKind.PRODUCER,
    Kind.CONSUMER: SpanKind.CONSUMER,
}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_VERSION = version("anmei")


class OtlpSink:
    """Sends spans to an OTLP/HTTP endpoint (`http://host:4318`); one a process. Headers: OTEL_EXPORTER_OTLP_HEADERS."""

    def __init__(self, endpoint: str) -> None:
        url = endpoint.rstrip("/")
        url = url if url.endswith("/v1/traces") else f"{url}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=url, timeout=TIMEOUT_SECONDS)
        self._processor = BatchSpanProcessor(
            exporter, max_queue_size=MAX_WAITING, schedule_delay_millis=SEND_EVERY_MS, max_export_batch_size=2048
        )
        self._resource = Resource.create(
            {
                "service.namespace": "anmei",
                "service.name": f"anmei-{current_role()}",
                "service.version": _VERSION,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        self._scope = InstrumentationScope("anmei", _VERSION)
        atexit.register(self.close)

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
    ) -> None:
        """Queue one span; returns at once."""
        parent = None if parent_id is None else SpanContext(trace_id, parent_id, True, _SAMPLED)
        self._processor.on_end(
            ReadableSpan(
                name,
                context=SpanContext(trace_id, span_id, False, _SAMPLED),
                parent=parent,
                resource=self._resource,
                attributes=attributes,
                links=() if link is None else (Link(SpanContext(link[0], link[1], True, _SAMPLED)),),
                kind=_KINDS[kind],
                status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
                start_time=started_ns,
                end_time=ended_ns,
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Send what waits; idempotent."""
        atexit.unregister(self.close)
        # The SDK's method has no annotations.
        shutdown: Callable[[], None] = self._processor.shutdown
        shutdown()
