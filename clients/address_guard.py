"""Which addresses a push may go to: asked at every connection that is opened, whichever library opens it.

A consultant names the receiver, so without this they could have our servers talk to whatever those reach: a cloud's
metadata, the database's port, a colleague's printer. See docs/decisions/0012-where-pushes-may-go.md.
"""

import errno
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What the interpreter announces before a socket reaches out (PEP 578; "Audit events table" of the Python documentation).
_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
# The well-known prefix of NAT64 (RFC 6052): a gateway behind it talks to the IPv4 address in its last four bytes.
_NAT64 = IPv6Network("64:ff9b::/96")


class InternalAddressError(OSError):
    """A connection was refused by the guard. An OSError, so that a library goes on to the next address of a name."""


class Guard:
    """What may be reached while it is active, and whether something was refused."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self.refused = False

    def check(self, target: Any) -> None:
        """Raise InternalAddressError unless the socket's target is an address that may be reached."""
        if not (isinstance(target, tuple) and target and _may_reach(target[0], self._allowed)):
            self.refused = True
            raise InternalAddressError(errno.EACCES, "pushes do not go to internal addresses")


_active: ContextVar[Guard | None] = ContextVar("address guard", default=None)
_installing = threading.Lock()
_installed = False


@contextmanager
def guarded(allowed: Sequence[Network]) -> Iterator[Guard]:
    """Refuse this thread's connections to addresses that are not public, but for the allowed networks', while inside."""
    _install()
    guard = Guard(allowed)
    token = _active.set(guard)
    try:
        yield guard
    finally:
        _active.reset(token)


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
