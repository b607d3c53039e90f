"""The connections below agent calls: used again where that is safe, looked at before, never a run sent twice."""

import asyncio
import datetime
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clients import agent_http, agent_loop, agents, http_calls
from clients.agent_http import AgentHttp
from clients.agent_loop import AgentLoop
from clients.agents import AgentRequest
from core.errors import AgentPermanentError, AgentTransientError
from tests.clients.hostile import HostileServer, Script, read_request, saying
from tests.clients.test_hostile_servers import CHUNKED, HEAD, WHOLE
from tests.support.waiting import wait_until

Ask = Callable[..., AgentRequest]
Hostile = Callable[[Script], HostileServer]
CHUNK = b"%x\r\n%s\r\n" % (len(WHOLE), WHOLE)
LAST_CHUNK = b"0\r\n\r\n"
KEPT = CHUNKED + CHUNK + LAST_CHUNK


def outcome_of(request: AgentRequest) -> str:
    try:
        return agents.start(request).result(10).text
    except (AgentTransientError, AgentPermanentError) as error:
        return error.code


def lying_ready() -> int:
    """How many connections the pool holds."""

    async def count(loop: AgentLoop) -> int:
        connector = loop.http._session.connector
        assert connector is not None
        return sum(len(lying) for lying in connector._conns.values())

    return agent_loop.current().submit(count).result(5)


def test_a_run_lost_on_a_used_connection_is_not_sent_again(ask: Ask, hostile: Hostile) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(KEPT)
        # The second request is taken, and its answer never comes: it may have been processed.
        server.requests.append(read_request(connection))

    server = hostile(script)
    assert outcome_of(ask("chat", base_url=server.url)) == "小美，您好！🌟"
    wait_until(lambda: lying_ready() == 1)

    assert outcome_of(ask("chat", base_url=server.url)) == "AGENT_CONNECTION_LOST"

    assert [request.partition(b" HTTP/")[0] for request in server.requests] == [b"POST /v1/chat-messages"] * 2
    assert server.accepted == 1


def test_a_run_on_a_connection_closed_before_goes_out_once_on_another(ask: Ask, hostile: Hostile) -> None:
    asked_to_close = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(KEPT)
        if server.accepted == 1:
            asked_to_close.wait(10)

    server = hostile(script)
    request = ask("chat", base_url=server.url)
    url, headers = http_calls.endpoint(server.url, "/chat-messages"), http_calls.headers(request.target.api_key)

    async def twice(loop: AgentLoop) -> bytes:
        first = await loop.http.open("POST", url, headers, b"{}")
        await first.read_up_to(10_000)
        (used,) = agent_http._used
        ours = used.transport.get_extra_info("socket")
        # Without a return to the loop, so that it cannot learn of the server's end, only the kernel does.
        asked_to_close.set()
        wait_until(lambda: select.select([ours.fileno()], [], [], 0)[0])
        second = await loop.http.open("POST", url, headers, b"{}")
        return await second.read_up_to(10_000)

    agents.shutdown()
    agent_http._used.clear()
    assert agent_loop.current().submit(twice).result(10) == WHOLE
    assert server.accepted == 2
    assert len(server.requests) == 2


def test_a_whole_answer_counts_although_its_connection_breaks(ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(CHUNKED + CHUNK))

    assert outcome_of(ask("chat", base_url=server.url)) == "小美，您好！🌟"
    assert len(server.requests) == 1


def test_what_goes_on_after_the_answer_is_hung_up_on(ask: Ask, hostile: Hostile) -> None:
    left = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + CHUNK)
        try:
            while True:
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        except OSError:
            left.set()

    assert outcome_of(ask("chat", base_url=hostile(script).url)) == "小美，您好！🌟"

    assert left.wait(10)
    assert lying_ready() == 0


def test_cookies_are_neither_kept_nor_sent(ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(HEAD.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n"), WHOLE))

    for _ in range(2):
        assert outcome_of(ask("chat", base_url=server.url)) == "小美，您好！🌟"

    assert all(b"cookie" not in request.lower() for request in server.requests)
    assert all(b"\r\naccept-encoding: identity\r\n" in request.lower() for request in server.requests)


def test_the_environments_proxy_gets_nothing(ask: Ask, hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = hostile(saying(HEAD)), hostile(saying(HEAD, WHOLE))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    agents.shutdown()

    assert outcome_of(ask("chat", base_url=server.url)) == "小美，您好！🌟"
    assert proxy.requests == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, signed by itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated agent")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[Callable[[Script], HostileServer]]:
    """Start servers that speak TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    servers: list[HostileServer] = []

    def start(script: Script) -> HostileServer:
        servers.append(HostileServer(script, context))
        return servers[-1]

    yield start
    agents.shutdown()
    for server in servers:
        server.close()


def test_a_certificate_nobody_vouches_for_is_refused(ask: Ask, secure: Hostile) -> None:
    server = secure(saying(HEAD, WHOLE))

    assert outcome_of(ask("chat", base_url=server.url)) == "AGENT_UNREACHABLE"
    assert server.requests == []


@pytest.mark.parametrize(("host", "outcome"), [("localhost", "小美，您好！🌟"), ("127.0.0.1", "AGENT_UNREACHABLE")])
def test_a_certificate_counts_for_the_host_it_names(
    host: str, outcome: str, ask: Ask, secure: Hostile, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    agents.shutdown()
    server = secure(saying(KEPT))

    assert outcome_of(ask("chat", base_url=server.url.replace("127.0.0.1", host))) == outcome


def test_a_secure_connection_is_used_again(
    ask: Ask, secure: Hostile, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(KEPT)
        while request := read_request(connection):
            server.requests.append(request)
            connection.sendall(KEPT)

    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    agents.shutdown()
    server = secure(script)
    request = ask("chat", base_url=server.url.replace("127.0.0.1", "localhost"))

    for _ in range(3):
        assert outcome_of(request) == "小美，您好！🌟"
        wait_until(lambda: lying_ready() == 1)

    assert (server.accepted, len(server.requests)) == (1, 3)


def test_a_session_is_made_on_the_loop_alone() -> None:
    async def made(loop: AgentLoop) -> tuple[AgentHttp, asyncio.AbstractEventLoop]:
        return loop.http, asyncio.get_running_loop()

    (first, running), (second, _) = (agent_loop.current().submit(made).result(5) for _ in range(2))

    assert first is second
    assert first._session._loop is running
