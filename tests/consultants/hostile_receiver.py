"""A receiver of pushes that means harm, as a process of its own: it never answers, drips, never ends, or answers with a bomb."""

import gzip
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

BOMB_BYTES = 64 * 1024 * 1024
DRIP_SECONDS = 0.1
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class Hostile:
    """How a test asks the process; `url` is its base."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port

    def asked(self, path: str) -> int:
        """Return how often a path was posted to."""
        return self._number(f"/asked{path}")

    def held(self) -> int:
        """Return how many of the connections it torments are open still."""
        return self._number("/held")

    def _number(self, path: str) -> int:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", path)
            return int(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def hostile_receiver() -> Iterator[Hostile]:
    """The process, while inside."""
    command = [sys.executable, "-m", "tests.consultants.hostile_receiver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Hostile(int(process.stdout.readline()))
        finally:
            process.kill()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()
    held: ClassVar[set[socket.socket]] = set()
    leaving = threading.Event()

    def do_GET(self) -> None:
        asked = self.path.removeprefix("/asked")
        number = str(len(self.held) if self.path == "/held" else self.asked[asked]).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(number), number))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        self.asked[path] += 1
        self.held.add(self.connection)
        self.close_connection = True
        # The client hanging up is what the tests are about.
        with suppress(OSError):
            getattr(self, path.strip("/").replace("-", "_"))()
        self.held.discard(self.connection)

    def silent(self) -> None:
        """Nothing at all, until the client leaves."""
        while self.connection.recv(65_536):
            pass

    def dripping_head(self) -> None:
        self._drip(b"HTTP/1.1 200 OK\r\nX-Long: ")

    def dripping_body(self) -> None:
        self._drip(HEAD + b"Content-Length: 100000\r\n\r\n")

    def endless(self) -> None:
        self.wfile.write(HEAD + b"Connection: close\r\n\r\n")
        while True:
            self.wfile.write(b"x" * 65_536)

    def bomb(self) -> None:
        zipped = gzip.compress(b"\0" * BOMB_BYTES, 9)
        self.wfile.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(zipped) + zipped)

    def failing(self) -> None:
        self.wfile.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    def _drip(self, first: bytes) -> None:
        self.wfile.write(first)
        while not self.leaving.wait(DRIP_SECONDS):
            self.wfile.write(b"x")

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
