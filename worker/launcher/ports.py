"""Ports: the wanted one, or the next free one."""

import errno
import socket
from collections.abc import Callable, Collection

from worker.launcher.errors import LaunchError

_TRIES = 200


def choose_port(bind: str, wanted: int, *, name: str, taken: Collection[int], say: Callable[[str], None]) -> int:
    """Return the wanted port or the next free one above it, saying so. Ports in `taken` are promised to others of ours."""
    for port in range(wanted, min(wanted + _TRIES, 65_536)):
        if port not in taken and is_free(bind, port):
            if port != wanted:
                say(f"port {wanted} for {name} is taken: using {port}")
            return port
    raise LaunchError(f"no free port for {name} from {wanted} on at {bind}: set another one")


def any_port(bind: str, *, taken: Collection[int]) -> int:
    """Return a free port of the system's choice."""
    for _ in range(_TRIES):
        with _listener(bind) as listener:
            listener.bind((bind, 0))
            port = int(listener.getsockname()[1])
        if port not in taken:
            return port
    raise LaunchError(f"the system offers no free port at {bind}")


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
