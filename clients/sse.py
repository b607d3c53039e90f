"""Server-sent events, parsed incrementally (WHATWG HTML, 9.2 "Server-sent events"); the same for any chunking."""

import re
from typing import Any, NamedTuple

import orjson

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
# A tool's observation travels in one line, so lines may be long; a profile of a few kilobytes is usual.
MAX_LINE_BYTES = 1 << 20
MAX_EVENT_BYTES = 2 << 20


class SseTooLargeError(Exception):
    """A line or an event exceeds its bound."""


class SseEvent(NamedTuple):
    """One event: its name (empty when none was sent) and its data lines, joined by newlines."""

    name: str
    data: bytes

    def json_object(self) -> dict[str, Any] | None:
        """Return the data's JSON object, None when it is none. What is no UTF-8 is replaced, as the specification has it."""
        try:
            value = orjson.loads(self.data)
        except orjson.JSONDecodeError:
            try:
                value = orjson.loads(self.data.decode(errors="replace"))
            except orjson.JSONDecodeError:
                return None
        return value if isinstance(value, dict) else None


class SseParser:
    """Turns bytes into events. Ids, retry times and comments are read over; a name without data is no event."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = b""
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events completed by these bytes; raise SseTooLargeError when one outgrows its bound."""
        if self._after_cr and chunk:
            # The previous chunk ended between CR and LF: one line end, not two.
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        # Most streams have plain line ends, which are found three times as fast.
        *lines, rest = _LINE_END.split(chunk) if b"\r" in chunk else chunk.split(b"\n")
        events = []
        for line in lines:
            self._keep(line)
            event = self._line(self._take())
            if event is not None:
                events.append(event)
        self._keep(rest)
        return events

    def close(self) -> list[SseEvent]:
        """Return what the end of the stream completes: some servers leave out the last blank line."""
        events = [self._line(self._take()), self._dispatch()]
        return [event for event in events if event is not None]

    def _keep(self, piece: bytes) -> None:
        self._partial_bytes += len(piece)
        if self._partial_bytes > MAX_LINE_BYTES:
            raise SseTooLargeError
        if piece:
            self._partial.append(piece)

    def _take(self) -> bytes:
        line = b"".join(self._partial)
        self._partial.clear()
        self._partial_bytes = 0
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        return line

    def _line(self, line: bytes) -> SseEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data_bytes += len(value)
            if self._data_bytes > MAX_EVENT_BYTES:
                raise SseTooLargeError
            self._data.append(value)
        elif field == b"event":
            self._name = value
        return None

    def _dispatch(self) -> SseEvent | None:
        data, name = self._data, self._name
        self._data, self._name, self._data_bytes = [], b"", 0
        if not data:
            return None
        return SseEvent(name.decode(errors="replace") if name else "", b"\n".join(data) if len(data) > 1 else data[0])
