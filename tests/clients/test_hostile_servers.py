"""The clients against servers that break the rules byte by byte."""

import gzip
import json
import socket
from collections.abc import Callable

import pytest

from clients import agent_limits, agents
from clients.agents import AgentRequest
from core.errors import AgentPermanentError, AgentTransientError
from tests.clients.hostile import HEAD, HostileServer, Script, pausing, saying, then_silence
from tests.support.waiting import wait_until

Ask = Callable[..., AgentRequest]
Hostile = Callable[[Script], HostileServer]


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps({"task_id": "task-1"} | fields, ensure_ascii=False).encode() + b"\n\n"


WHOLE = (
    event(event="message", answer="小美，")
    + b"event: ping\n\n"
    + event(event="message", answer="您好！🌟")
    + event(event="message_end", metadata={})
)


def outcome_of(request: AgentRequest) -> str:
    """The answer's text, or the error's code."""
    try:
        return agents.start(request).result(20).text
    except (AgentTransientError, AgentPermanentError) as error:
        return error.code


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_answer_in_slivers_is_read_whole(size: int, end: bytes, ask: Ask, hostile: Hostile) -> None:
    stream = WHOLE.replace(b"\n", end)
    server = hostile(saying(HEAD, *(stream[at : at + size] for at in range(0, len(stream), size))))

    assert outcome_of(ask("chat", base_url=server.url)) == "小美，您好！🌟"


def test_the_answer_does_not_wait_for_the_connection_to_end(ask: Ask, hostile: Hostile) -> None:
    server = hostile(then_silence(HEAD, WHOLE))

    answer = agents.start(ask("chat", base_url=server.url)).result(5)

    assert answer.latency_ms < agent_limits.DRAIN_SECONDS * 1000
    assert len(server.requests) == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TYPED = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n"
ZIPPED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
MOVED = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
CASES: dict[str, tuple[list[bytes], str]] = {
    "closes at once": ([], "AGENT_CONNECTION_LOST"),
    "speaks no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n"], "AGENT_CONNECTION_LOST"),
    "half a status line": ([b"HTTP/1.1 2"], "AGENT_CONNECTION_LOST"),
    "cut inside a chunk": ([CHUNKED, b"ff\r\n", WHOLE[:40]], "AGENT_CONNECTION_LOST"),
    "a chunk of no size": ([CHUNKED, b"zz\r\n"], "AGENT_CONNECTION_LOST"),
    "ends in mid-event": ([HEAD, WHOLE[:-30]], "AGENT_NO_TERMINAL_EVENT"),
    "ends without a body": ([HEAD], "AGENT_NO_TERMINAL_EVENT"),
    "an endless head": ([b"HTTP/1.1 200 OK\r\nX-Y: ", *[b"x" * 65_536] * 5], "AGENT_CONNECTION_LOST"),
    "a head of many fields": ([b"HTTP/1.1 200 OK\r\n", *[b"X-Y: z\r\n" * 100] * 5], "AGENT_CONNECTION_LOST"),
    "a page under 200": ([TYPED % b"text/html", b"<html>Log in</html>"], "AGENT_BAD_RESPONSE"),
    "JSON under 200": ([TYPED % b"application/json", b"{}"], "AGENT_BAD_RESPONSE"),
    "no content type": ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", WHOLE], "AGENT_BAD_RESPONSE"),
    "an encoding nobody asked for": ([ZIPPED, gzip.compress(WHOLE)], "AGENT_BAD_RESPONSE"),
    "binary rubbish": ([HEAD, bytes(range(256)) * 20], "AGENT_NO_TERMINAL_EVENT"),
    "an endless line": ([HEAD, b"data: ", *[b"x" * 65_536] * 20], "AGENT_RESPONSE_TOO_LARGE"),
    "endless events": ([HEAD, *[event(event="message", answer="x" * 60_000)] * 80], "AGENT_RESPONSE_TOO_LARGE"),
    "a refusal that is no JSON": ([b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n", b"<html>"], "AGENT_BAD_REQUEST"),
    "a refusal that is a JSON list": ([b"HTTP/1.1 429 No\r\nConnection: close\r\n\r\n", b"[]"], "AGENT_BUSY"),
    "an endless refusal": (
        [b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n", *[b"x" * 65_536] * 50],
        "AGENT_UNAVAILABLE",
    ),
    "an informational answer only": ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], "AGENT_CONNECTION_LOST"),
    "success of another kind": ([b"HTTP/1.1 204 No Content\r\n\r\n"], "AGENT_BAD_RESPONSE"),
}


@pytest.mark.parametrize(("pieces", "code"), CASES.values(), ids=CASES.keys())
def test_a_broken_server_is_one_of_our_errors(pieces: list[bytes], code: str, ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(*pieces))

    assert outcome_of(ask("chat", base_url=server.url, timeout_seconds=5)) == code


@pytest.mark.usefixtures("previews_at_once")
@pytest.mark.parametrize("rubbish", [b"zz\r\n", b"-1\r\n", b"\x00\xff", b"fffffffffffffffff\r\n", b""])
def test_a_body_that_breaks_the_rules_in_its_middle_ends_the_call_at_once(
    rubbish: bytes, ask: Ask, hostile: Hostile
) -> None:
    shown: list[str] = []
    first = event(event="message", answer="x")
    # Sent when what was before is read, so that nobody waits but for the next piece.
    server = hostile(pausing(CHUNKED + b"%x\r\n%s\r\n" % (len(first), first), (lambda: shown, rubbish)))

    with pytest.raises(AgentTransientError) as caught:
        agents.start(ask("chat", base_url=server.url, timeout_seconds=60), shown.append).result(10)

    assert caught.value.code == "AGENT_CONNECTION_LOST"


def test_a_redirect_is_not_followed_and_the_key_stays(ask: Ask, hostile: Hostile) -> None:
    elsewhere = hostile(saying(HEAD, WHOLE))
    server = hostile(saying(MOVED % elsewhere.url.encode()))

    assert outcome_of(ask("chat", base_url=server.url)) == "AGENT_REDIRECTED"
    assert elsewhere.requests == []


def test_a_server_that_says_nothing_is_left_after_the_idle_time(
    ask: Ask, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents.shutdown()
    monkeypatch.setattr(agent_limits, "IDLE_READ_SECONDS", 0.2)
    server = hostile(then_silence(HEAD, event(event="message", answer="x")))

    assert outcome_of(ask("chat", base_url=server.url, timeout_seconds=20)) == "AGENT_TIMEOUT"

    # The run may still be on: it is stopped by the id it told.
    wait_until(lambda: any(b"POST /v1/chat-messages/task-1/stop" in request for request in server.requests))


def test_a_stop_that_fails_is_tried_again_and_then_let_be(ask: Ask, hostile: Hostile) -> None:
    def script(connection: socket.socket) -> None:
        if len(server.requests) == 1:
            saying(HEAD, event(event="message", answer="x"))(connection)
        else:
            saying(b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")(connection)

    server = hostile(script)

    assert outcome_of(ask("chat", base_url=server.url)) == "AGENT_NO_TERMINAL_EVENT"

    wait_until(lambda: len(server.requests) == 1 + agent_limits.STOP_TRIES)


def test_nobody_listening_is_unreachable(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]

    assert outcome_of(ask("chat", base_url=f"http://127.0.0.1:{port}")) == "AGENT_UNREACHABLE"


def test_a_name_that_does_not_resolve_is_unreachable(ask: Ask) -> None:
    assert outcome_of(ask("chat", base_url="http://agent.invalid/v1")) == "AGENT_UNREACHABLE"


def test_a_handshake_that_never_ends_is_unreachable(
    ask: Ask, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents.shutdown()
    monkeypatch.setattr(agent_limits, "CONNECT_SECONDS", 0.3)
    # It waits for the end of a request's head, which no TLS client sends.
    server = hostile(saying(HEAD))

    assert outcome_of(ask("chat", base_url=server.url.replace("http:", "https:"))) == "AGENT_UNREACHABLE"


@pytest.mark.parametrize(
    "base_url",
    ["", "agent.example", "ftp://agent.example", "file:///etc/passwd", "http://", "http://user:pass@agent.example",
     "http://agent.example/v1?x=1", "http://agent.example/#x", "http://agent example/", "http://[::1", "http://a:99999",
     "http://a\r\nX-Y: z/", "http://\u202eevil/"],
)  # fmt: skip
def test_an_address_that_is_none_is_permanent(base_url: str, ask: Ask) -> None:
    request = ask("chat")
    target = agents.AgentTarget("dify", base_url, request.target.api_key, "chat", 5)

    assert outcome_of(AgentRequest(target, {}, "hi", "u", None)) == "AGENT_BAD_URL"


@pytest.mark.parametrize("key", [" ", "with blank", "schlüssel", "a\r\nX-Injected: 1", "a\x00b", "钥匙"])
def test_a_key_that_fits_no_header_is_permanent(key: str, ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(HEAD, WHOLE))

    assert outcome_of(ask("chat", base_url=server.url, key=key)) == "AGENT_BAD_KEY"
    assert server.requests == []


@pytest.mark.parametrize("trace_id", ["", "a\r\nX-Injected: 1", "trace\u202e", "x" * 1000])
def test_a_trace_id_that_fits_no_header_is_left_out(trace_id: str, ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(HEAD, WHOLE))
    request = ask("chat", base_url=server.url)

    sent = AgentRequest(request.target, request.inputs, request.query, request.user, trace_id)

    assert outcome_of(sent) == "小美，您好！🌟"
    assert b"x-trace-id" not in server.requests[0].lower()
    assert b"x-injected" not in server.requests[0].lower()


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/chat-messages"),
        ("/", "/v1/chat-messages"),
        ("/v1", "/v1/chat-messages"),
        ("/v1/", "/v1/chat-messages"),
        ("/dify", "/dify/v1/chat-messages"),
        ("/api/paas/v4", "/api/paas/v4/chat-messages"),
    ],
)
def test_the_version_is_added_where_the_base_names_none(base: str, path: str, ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(HEAD, WHOLE))

    outcome_of(ask("chat", base_url=server.url + base))

    assert server.requests[0].startswith(f"POST {path} HTTP/1.1".encode())
