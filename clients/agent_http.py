"""How agent calls reach the network: one pooled session a loop. Nobody else knows aiohttp; what leaves here are our errors.

Loaded by the first call, not before: it is 12 MB and a sixth of a second that processes without agent calls do not need.
"""

import asyncio
import select
import ssl
from collections.abc import Mapping
from weakref import WeakSet

import aiohttp
import certifi
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError

from clients import agent_limits as limits
from clients.agent_codes import AgentCode
from clients.agent_errors import AgentError, agent_error

# What aiohttp raises, and the sockets below it. HttpProcessingError is no ClientError, and can come out of a body.
_FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)


class Reply:
    """An answer whose body is read piece by piece, and not at all once it is closed or left to its end."""

    __slots__ = ("_lost", "_response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        protocol = None if response.connection is None else response.connection.protocol
        self._lost = None if protocol is None else protocol.closed
        if self._lost is not None:
            self._lost.add_done_callback(self._fail_body)
            response.content.on_eof(self._forget)

    @property
    def media_type(self) -> str:
        """Return the content type in small letters, without its parameters; empty when none was sent."""
        return self._response.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        """Return the content encoding, `identity` when none was sent. Bodies are handed over as they came."""
        return self._response.headers.get("content-encoding", "identity").lower()

    async def read(self) -> bytes:
        """Return what has come since, at least a byte; nothing at the body's end. Raises our errors."""
        try:
            return await self._response.content.readany()
        except _FOREIGN as error:
            raise from_transport(error) from None

    async def read_up_to(self, limit: int) -> bytes:
        """Return the body, or as much of it as is allowed and one byte: enough to see that it was longer."""
        body = bytearray()
        while len(body) <= limit and (piece := await self.read()):
            body += piece
        return bytes(body[: limit + 1])

    def _fail_body(self, lost: "asyncio.Future[None]") -> None:
        """End the wait for a body whose connection is gone.

        Where a body breaks the rules of HTTP in its middle, aiohttp closes the connection and wakes nobody who reads.
        """
        error = lost.exception()
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError(str(error or "the body breaks off")))

    def _forget(self) -> None:
        if self._lost is not None:
            self._lost.remove_done_callback(self._fail_body)

    def close(self) -> None:
        """Hang up, unless the body was read to its end: then its connection already serves others."""
        self._response.close()

    def leave_to_end(self) -> None:
        """Let what follows come in unread, so that the connection can be used again; hang up when it takes long or much.

        The session takes a connection back at its body's end, without a reader. More than the read buffer holds is not
        taken in, so that no end is seen and the timer hangs up.
        """
        content = self._response.content
        if not content.is_eof():
            timer = asyncio.get_running_loop().call_later(limits.DRAIN_SECONDS, self._response.close)
            content.on_eof(timer.cancel)


class AgentHttp:
    """The session and its connections; made and used on the loop's thread only. Follows no redirect: a key must not travel."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(limits.MAX_RUNS)
        self._timeout = _timeout(limits.IDLE_READ_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=_tls(),
                # Counted here instead, by runs, so that waiting for a place and connecting fail with codes of their own.
                limit=0,
                keepalive_timeout=limits.KEEP_ALIVE_SECONDS,
                resolver=aiohttp.ThreadedResolver(),
            ),
            request_class=_Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Proxies and certificates from the environment would be settings nobody sees.
            trust_env=False,
            auto_decompress=False,
            timeout=self._timeout,
            headers={"accept-encoding": "identity", "user-agent": "anmei"},
            read_bufsize=limits.READ_BUFFER_BYTES,
            max_line_size=limits.MAX_HEADER_BYTES,
            max_field_size=limits.MAX_HEADER_BYTES,
            max_headers=limits.MAX_HEADERS,
        )

    async def enter(self) -> None:
        """Take one of the places for runs; raise AGENT_POOL_EXHAUSTED when none comes free in a moment."""
        if not self._places.locked():
            # Returns without waiting.
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(limits.POOL_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise agent_error(AgentCode.POOL_EXHAUSTED, f"{limits.MAX_RUNS} agent calls are open") from None

    def leave(self) -> None:
        """Give the place back."""
        self._places.release()

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, read_seconds: float | None = None
    ) -> Reply:
        """Send a request and return the answer's head, whatever its status. Raises our errors.

        A POST is sent once: one that may have reached the server is never repeated (RFC 9110, 9.2.2). A GET may be.
        """
        idle_seconds = read_seconds or limits.IDLE_READ_SECONDS
        timeout = self._timeout if read_seconds is None else _timeout(read_seconds)
        try:
            # The session bounds connecting and reading; a body that is not taken would wait for the call's deadline.
            async with asyncio.timeout(limits.CONNECT_SECONDS + limits.WRITE_SECONDS + idle_seconds):
                while True:
                    try:
                        return Reply(
                            await self._session.request(
                                method, url, data=body, headers=headers, allow_redirects=False, timeout=timeout
                            )
                        )
                    except _StaleConnectionError:
                        # Not a byte was sent, and the connection is off the pool.
                        continue
        except _FOREIGN as error:
            raise from_transport(error) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


class _StaleConnectionError(aiohttp.ClientConnectionError):
    """A pooled connection was closed by the server before anything was sent on it."""


# Those that carried a request before. A fresh TLS connection may have something to read: the server's session tickets.
_used: WeakSet[object] = WeakSet()


class _Request(aiohttp.ClientRequest):
    """A request that looks at a used connection before it goes out on it.

    The loop learns of a server's hanging up when it polls. Until then the pool would hand the connection out, the request
    would be lost, and as it may have been processed nobody could repeat it.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        if protocol in _used and _is_readable(conn):
            raise _StaleConnectionError
        if protocol is not None:
            _used.add(protocol)
        return await super().send(conn)


def _is_readable(conn: Connection) -> bool:
    """Tell whether the kernel holds an end of stream, or bytes nobody asked for."""
    transport = conn.transport
    socket = None if transport is None else transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _timeout(read_seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=limits.CONNECT_SECONDS, sock_read=read_seconds)


def from_transport(error: BaseException) -> AgentError:
    """Map what aiohttp and the sockets below it raise. The foreign text is left out: it may quote a header or a URL."""
    return agent_error(_transport_code(error), f"the agent could not be called: {type(error).__name__}")


def _transport_code(error: BaseException) -> AgentCode:
    match error:
        case (
            aiohttp.ConnectionTimeoutError()
            | aiohttp.ClientConnectorError()
            | aiohttp.ClientSSLError()
            | aiohttp.ServerFingerprintMismatch()
            | aiohttp.ClientHttpProxyError()
        ):
            return AgentCode.UNREACHABLE
        case TimeoutError():
            return AgentCode.TIMEOUT
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return AgentCode.BAD_URL
        case aiohttp.TooManyRedirects():
            return AgentCode.REDIRECTED
        case aiohttp.ContentTypeError():
            return AgentCode.BAD_RESPONSE
        case (
            # What is no HTTP, or breaks off, at the head and in the body.
            aiohttp.ClientResponseError()
            | aiohttp.ClientPayloadError()
            | HttpProcessingError()
            | aiohttp.UploadAbortedError()
            | aiohttp.ClientConnectionError()
            | OSError()
        ):
            return AgentCode.CONNECTION_LOST
        case _:
            return AgentCode.CLIENT_FAULT
