"""The event-stream parser: one stream, one meaning, however it is cut into chunks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import sse
from clients.sse import SseEvent, SseParser, SseTooLargeError

LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
FIELDS = st.one_of(
    st.builds(
        "data: {}".format, st.text(alphabet=st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)
    ),
    st.builds("data:{}".format, st.sampled_from(["", "x", " two blanks", '{"event":"message"}', "🌟"])),
    st.sampled_from(["event: ping", "event: message", ": comment", "id: 7", "retry: 10", "nonsense", "data", ""]),
)
STREAMS = st.lists(st.tuples(FIELDS, LINE_ENDS), max_size=25).map(
    lambda lines: "".join(field + end for field, end in lines).encode()
)


def parse(chunks: list[bytes]) -> list[SseEvent]:
    parser = SseParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.close()


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(place % (len(stream) + 1) for place in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=30))
def test_any_chunking_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    whole = parse([stream])

    assert parse(cut(stream, cuts)) == whole
    assert parse([stream[place : place + 1] for place in range(len(stream))]) == whole
    assert parse([b"", *cut(stream, cuts), b""]) == whole


@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=10))
def test_any_bytes_are_survived_alike(stream: bytes, cuts: list[int]) -> None:
    assert parse(cut(stream, cuts)) == parse([stream])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_three_line_ends_mean_the_same(end: str) -> None:
    lines = ["event: ping", "", "data: one", "data: two", "", ": comment", "data:three", ""]

    events = parse([(end.join(lines) + end).encode()])

    assert events == [SseEvent("", b"one\ntwo"), SseEvent("", b"three")]


def test_a_name_without_data_is_no_event_and_does_not_name_the_next() -> None:
    assert parse([b"event: ping\n\ndata: x\n\n"]) == [SseEvent("", b"x")]


def test_the_last_event_counts_without_its_blank_line() -> None:
    assert parse([b"data: [DONE]"]) == [SseEvent("", b"[DONE]")]


def test_a_byte_order_mark_is_read_over_once() -> None:
    assert parse([b"\xef\xbb", b"\xbfdata: x\n\n"]) == [SseEvent("", b"x")]


def test_a_character_cut_in_two_arrives_whole() -> None:
    star = "data: 🌟\n\n".encode()

    assert parse([star[:8], star[8:]]) == [SseEvent("", "🌟".encode())]


@pytest.mark.parametrize("size", [1, 4096, sse.MAX_LINE_BYTES * 2])
def test_an_endless_line_is_refused_whatever_its_chunks(size: int) -> None:
    line = b"data: " + b"x" * sse.MAX_LINE_BYTES
    # Byte by byte only for the last few: the bound is what matters, not a million calls.
    chunks = (
        [line[:-3], *(line[-3:][i : i + 1] for i in range(3))]
        if size == 1
        else cut(line, list(range(0, len(line), size)))
    )

    with pytest.raises(SseTooLargeError):
        parse(chunks)


def test_an_event_of_too_many_lines_is_refused() -> None:
    line = b"data: " + b"x" * 65_536 + b"\n"

    with pytest.raises(SseTooLargeError):
        parse([line] * (sse.MAX_EVENT_BYTES // 65_536 + 1))
