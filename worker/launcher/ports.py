"""Ports: the wanted one, or the next free one, promised to one launcher at a time."""

import errno
import socket
import sys
from collections.abc import Callable

from worker.launcher.errors import LaunchError

_TRIES = 200


class PortChooser:
    """Chooses ports and keeps them promised until `release`: what will listen there only starts seconds later."""

    def __init__(self, bind: str, say: Callable[[str], None]) -> None:
        self._bind = bind
        self._say = say
        self._promises: dict[int, socket.socket | None] = {}

    def wanted(self, port: int, name: str) -> int:
        """Return the port or the next free one above it, saying so; raise LaunchError when there is none."""
        for candidate in range(port, min(port + _TRIES, 65_536)):
            if is_free(self._bind, candidate) and self._promise(candidate):
                if candidate != port:
                    self._say(f"port {port} for {name} is taken: using {candidate}")
                return candidate
        raise LaunchError(f"no free port for {name} from {port} on at {self._bind}: set another one")

    def any(self) -> int:
        """Return a free loopback port of the system's choice."""
        for _ in range(_TRIES):
            with _listener("127.0.0.1") as listener:
                listener.bind(("127.0.0.1", 0))
                port = int(listener.getsockname()[1])
            if self._promise(port):
                return port
        raise LaunchError("the system offers no free port at 127.0.0.1")

    def release(self) -> None:
        """Let others have them."""
        for promise in self._promises.values():
            if promise is not None:
                promise.close()
        self._promises.clear()

    def _promise(self, port: int) -> bool:
        if port in self._promises:
            return False
        promise = None
        if sys.platform == "linux":
            # An abstract name (unix(7)) is seen by every user of this network namespace, and goes with its process.
            promise = socket.socket(socket.AF_UNIX)
            try:
                promise.bind(f"\0anmei-port-{port}")
            except OSError:
                promise.close()
                return False
        self._promises[port] = promise
        return True


def is_free(bind: str, port: int) -> bool:
    """Tell whether a server could listen there now. Raises LaunchError when the address itself cannot be used."""
    with _listener(bind) as listener:
        try:
            listener.bind((bind, port))
            listener.listen(1)
        except PermissionError:
            return False
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise LaunchError(f"ANMEI_BIND={bind} is not an address of this machine: {error}") from error
    return True


def _listener(bind: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET)
    # As servers set it: a port still cooling down from an earlier run is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener
