"""A server that says exactly the bytes it is told to, for what no well-behaved server would send."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

from tests.support.waiting import wait_until

Script = Callable[[socket.socket], None]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class HostileServer:
    """Reads each request's head and body, keeps it, and runs the script on the connection."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.accepted = 0
        self._tls = tls
        self._script = script
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def hang_up(self) -> None:
        """End every connection there is."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # The client hanging up in the middle of a script is what many tests are about.
        with contextlib.suppress(OSError), self._secured(connection) as ready:
            self.requests.append(read_request(ready))
            self._script(ready)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True)


def read_request(connection: socket.socket) -> bytes:
    """Return a request's head and body; nothing at the connection's end."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def saying(*pieces: bytes) -> Script:
    """Send the pieces, each in a packet of its own, and close."""

    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)

    return script


def pausing(*pieces: bytes | tuple[Callable[[], object], bytes]) -> Script:
    """Send the pieces and close; one with a condition is sent when that holds."""

    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            if isinstance(piece, tuple):
                wait_until(piece[0])
                connection.sendall(piece[1])
            else:
                connection.sendall(piece)

    return script


def then_silence(*pieces: bytes) -> Script:
    """Send the pieces, then nothing until the client leaves."""

    def script(connection: socket.socket) -> None:
        saying(*pieces)(connection)
        while connection.recv(65536):
            pass

    return script
