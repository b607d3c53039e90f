"""An OpenTelemetry collector of a test's own: takes OTLP over HTTP and keeps the spans it was sent."""

import gzip
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Span:
    """One span as it came over the wire; ids as hexadecimal text, no parent as ""."""

    trace: str
    id: str
    parent: str
    name: str
    service: str
    began_ns: int
    ended_ns: int
    failed: bool
    links: tuple[str, ...]
    attributes: dict[str, Any] = field(hash=False)


class Collector:
    """The spans received so far, by trace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.spans: list[Span] = []
        self.url = ""

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        found = [
            _read(span, service.value.string_value)
            for part in request.resource_spans
            for service in part.resource.attributes
            if service.key == "service.name"
            for scope in part.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self.spans += found

    def traces(self) -> dict[str, list[Span]]:
        found = defaultdict(list)
        with self._lock:
            for span in self.spans:
                found[span.trace].append(span)
        return dict(found)


def tree(spans: list[Span]) -> str:
    """Return a trace as an indented text: when each span began and how long it took, in milliseconds."""
    (first,) = (span for span in spans if not span.parent)
    lines: list[str] = []

    def write(span: Span, depth: int) -> None:
        begins, takes = ((one / 1e6) for one in (span.began_ns - first.began_ns, span.ended_ns - span.began_ns))
        lines.append(f"{begins:8.1f} {takes:8.1f}  {'  ' * depth}{span.name}  [{span.service}]")
        for child in sorted(spans, key=lambda one: one.began_ns):
            if child.parent == span.id:
                write(child, depth + 1)

    write(first, 0)
    return "\n".join(lines)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Serve /v1/traces on a free port of this machine."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            known = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
            if known:
                collector.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read(span: Any, service: str) -> Span:
    return Span(
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        service=service,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        failed=span.status.code == 2,
        links=tuple(link.trace_id.hex() for link in span.links),
        attributes={one.key: one.value.string_value or one.value.int_value for one in span.attributes},
    )


def main() -> None:
    """Say where it listens; on Ctrl-C or SIGTERM print every trace as a tree."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with collecting() as collector:
        print(f"ANMEI_OTLP_ENDPOINT={collector.url}", flush=True)
        stopping.wait()
        for trace, spans in collector.traces().items():
            print(f"\ntrace {trace}\n{tree(spans)}")


if __name__ == "__main__":
    main()
