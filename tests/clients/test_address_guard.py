"""Where pushes may go: public addresses, and internal ones an administrator allowed; whatever a name or redirect says."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import SecretStr

from clients import address_guard, push
from clients.address_guard import InternalAddressError, guarded
from clients.push import PushInternalError, PushRefusedError, PushTransientError, VapidKey
from services import push_keys
from tests.consultants.browser import Browser
from tests.consultants.receiver import Receiver, receiving

LOOPBACK = [ip_network("127.0.0.0/8")]
INTERNAL = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.100.100.200",
    "169.254.169.254",
    "224.0.0.1",
    "::1",
    "fe80::1",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def send(kind: str, url: str, **more: Any) -> None:
    push.send(kind, SecretStr(url), {"title": "t", "body": "b"}, idempotency_key="k", **more)


@pytest.mark.parametrize("address", INTERNAL)
def test_no_socket_reaches_an_internal_address(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp, guarded([]) as guard:
        with pytest.raises(InternalAddressError):
            tcp.connect((address, 9))
        with pytest.raises(InternalAddressError):
            udp.sendto(b"x", (address, 9))
        assert guard.refused
    assert address_guard.leads_inside(address, [])


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert not address_guard.leads_inside(address, [])
    assert not address_guard.is_literally_inside(address, [])


def test_what_is_allowed_is_reached_and_what_is_beside_it_is_not(receiver: Receiver) -> None:
    send("http", f"{receiver.url}/in", allowed=LOOPBACK)
    assert [one.path for one in receiver.received] == ["/in"]
    with pytest.raises(PushInternalError):
        send("http", f"{receiver.url}/out", allowed=[ip_network("127.0.1.0/24")])
    with pytest.raises(PushInternalError):
        send("http", f"{receiver.url}/out", allowed=[ip_network("::/0")])
    assert len(receiver.received) == 1


def test_a_name_that_leads_inside_is_refused_when_it_is_sent_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was public when it was entered, and is not any more: DNS rebinding."""
    known = socket.getaddrinfo
    public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 0))]
    port = int(receiver.url.rsplit(":", 1)[1])
    url = f"http://push.example.net:{port}/in"
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: public)
    push.check("http", SecretStr(url))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: known("127.0.0.1", *rest, **more))
    with pytest.raises(PushInternalError):
        send("http", url)
    with pytest.raises(PushInternalError):
        push.check("http", SecretStr(url))
    assert receiver.received == []


@pytest.mark.parametrize("kind", ["http", "webpush", "apprise"])
def test_every_kind_of_channel_is_guarded(receiver: Receiver, kind: str) -> None:
    url = {
        "http": f"{receiver.url}/in",
        "webpush": json.dumps(Browser(f"{receiver.url}/in").subscription),
        "apprise": receiver.url.replace("http://", "json://") + "/in",
    }[kind]
    vapid = VapidKey(push_keys.vapid_key().private, "mailto:push@example.com")
    with pytest.raises(PushInternalError) as refused:
        push.check(kind, SecretStr(url))
    with pytest.raises(PushInternalError):
        send(kind, url, vapid=vapid)
    assert refused.value.code == "PUSH_INTERNAL_ADDRESS"
    assert "127.0.0.1" not in refused.value.message
    assert receiver.received == []
    push.check(kind, SecretStr(url), allowed=LOOPBACK)
    send(kind, url, vapid=vapid, allowed=LOOPBACK)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("url", ["http://localhost:9/", "http://2130706433:9/", "http://0x7f.1:9/", "http://[::1]:9/"])
def test_loopback_in_disguise_is_refused_when_it_is_entered(url: str) -> None:
    with pytest.raises(PushInternalError):
        push.check("http", SecretStr(url))


@pytest.mark.parametrize("url", ["syslog://", "SYSLOG://_", "dbus://"])
def test_our_own_machine_is_no_service(url: str) -> None:
    with pytest.raises(PushRefusedError):
        push.check("apprise", SecretStr(url))


@contextmanager
def redirecting(target: str) -> Iterator[str]:
    """A server on another loopback address that sends everybody to the target."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(307)
            self.send_header("location", target)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.2:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("kind", ["http", "apprise"])
def test_a_redirect_leads_nowhere_inside(receiver: Receiver, kind: str) -> None:
    with redirecting(f"{receiver.url}/in") as host:
        url = f"{'json' if kind == 'apprise' else 'http'}://{host}/"
        with pytest.raises((PushInternalError, PushRefusedError, PushTransientError)):
            send(kind, url, allowed=[ip_network("127.0.0.2/32")])
    assert receiver.received == []


def test_only_the_thread_that_pushes_is_guarded(receiver: Receiver) -> None:
    port = int(receiver.url.rsplit(":", 1)[1])
    reached = []

    def other() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            reached.append(connection.getpeername()[1])

    with guarded([]):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert reached == [port]
    with socket.create_connection(("127.0.0.1", port)):
        pass
