"""Which addresses a push may go to, and until when: asked at every connection that is opened, whichever library opens it.

A consultant names the receiver, so without this they could have our servers talk to whatever those reach: a cloud's
metadata, the database's port, a colleague's printer. See docs/decisions/0012-where-pushes-may-go.md.
"""

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What the interpreter announces before a socket reaches out (PEP 578; "Audit events table" of the Python documentation).
_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
# More than a service with several receivers, or a chain of redirects, needs; each takes a file descriptor of ours.
CONNECTIONS_MAX = 32
# The well-known prefix of NAT64 (RFC 6052): a gateway behind it talks to the IPv4 address in its last four bytes.
_NAT64 = IPv6Network("64:ff9b::/96")


class InternalAddressError(OSError):
    """A connection was refused by the guard. An OSError, so that a library goes on to the next address of a name."""


class ConnectionsEndedError(OSError):
    """A connection was refused because the push has had its time, or its share of connections."""


class Guard:
    """What may be reached while it is active, and whether something was refused; `cut` ends all that was opened."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._lock = threading.Lock()
        self._opened: list[socket.socket] = []
        self._over = False
        self.refused = False

    def check(self, target: Any) -> None:
        """Raise InternalAddressError unless the socket's target is an address that may be reached."""
        if not (isinstance(target, tuple) and target and _may_reach(target[0], self._allowed)):
            self.refused = True
            raise InternalAddressError(errno.EACCES, "pushes do not go to internal addresses")

    def keep(self, connection: socket.socket) -> None:
        """Remember a connection for `cut`; raise ConnectionsEndedError after it, or beyond CONNECTIONS_MAX."""
        with self._lock:
            if self._over or len(self._opened) >= CONNECTIONS_MAX:
                raise ConnectionsEndedError(errno.ETIMEDOUT, "the push has had its time or its connections")
            # A second descriptor of the same connection: TLS takes the first one away from its socket object.
            self._opened.append(socket.socket(fileno=os.dup(connection.fileno())))

    def cut(self) -> None:
        """End every connection, also under a read that waits in another thread, and refuse any further one."""
        with self._lock:
            self._over = True
            for one in self._opened:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            self._over = True
            while self._opened:
                self._opened.pop().close()


_active: ContextVar[Guard | None] = ContextVar("address guard", default=None)
_installing = threading.Lock()
_installed = False


@contextmanager
def guarded(allowed: Sequence[Network]) -> Iterator[Guard]:
    """Refuse this thread's connections to addresses that are not public, but for the allowed networks', while inside."""
    guard = Guard(allowed)
    with guarded_by(guard):
        yield guard


@contextmanager
def guarded_by(guard: Guard) -> Iterator[None]:
    """Like `guarded`, with a guard that another thread may `cut`; it is closed at the end."""
    _install()
    token = _active.set(guard)
    try:
        yield
    finally:
        _active.reset(token)
        guard.close()


def is_guarded() -> bool:
    """Tell whether this thread is in the middle of a push."""
    return _active.get() is not None


def leads_inside(host: str, allowed: Sequence[Network]) -> bool:
    """Tell whether a host, an address or a name looked up now, has an address the guard would refuse.

    A name that nobody knows leads nowhere: no.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return not all(_may_reach(target[0], allowed) for *_, target in found)


def is_literally_inside(host: str, allowed: Sequence[Network]) -> bool:
    """Like `leads_inside`, without looking anything up: for addresses as they are written, and this machine's names."""
    if host.lower().rstrip(".") in ("localhost", "localhost.localdomain"):
        return not _may_reach("127.0.0.1", allowed)
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return not _may_reach(host.strip("[]"), allowed)


def _may_reach(host: object, allowed: Sequence[Network]) -> bool:
    try:
        address = _meant(ip_address(str(host)))
    except ValueError:
        # A name that the socket itself would look up, after us: nothing that libraries do for TCP.
        return False
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return address.is_global and not address.is_multicast


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _install() -> None:
    """Have the interpreter ask us; for ever, as it forgets no hook, so only where pushes are sent."""
    global _installed
    with _installing:
        if not _installed:
            sys.addaudithook(_hear)
            _installed = True


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS and (guard := _active.get()) is not None:
        guard.check(arguments[1])
        if event == "socket.connect":
            guard.keep(arguments[0])
