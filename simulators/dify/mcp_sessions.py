"""MCP sessions on the wire as Dify opens them: ids from 0, 2025-06-18, no version header, transport by the address."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

OFFERED_VERSION = "2025-06-18"
# Dify 1.16 refuses a server that answers any newer revision.
KNOWN_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18"})
_ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
_WELL_KNOWN = ("/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server")


class McpError(Exception):
    """The session or the call failed; the text is what Dify hands to its model."""


def event_data(block: str) -> tuple[str, str]:
    """Return (event name, data) of one server-sent event block."""
    name, data = "message", []
    for line in block.splitlines():
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
    return name, "\n".join(data)


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """Yield (name, data) for each event of a text/event-stream body."""
    buffer = ""
    async for piece in response.aiter_text():
        buffer = (buffer + piece).replace("\r\n", "\n")
        while "\n\n" in buffer:
            block, buffer = buffer.split("\n\n", 1)
            if block.strip():
                yield event_data(block)


class Target:
    """One server address with its key."""

    def __init__(
        self, url: str, key: str | None, http: httpx.AsyncClient, timeout_seconds: float, traceparent: str | None = None
    ) -> None:
        self.url, self.http, self.timeout_seconds = url, http, timeout_seconds
        self.headers = dict(_ACCEPT)
        if key:
            self.headers["authorization"] = f"Bearer {key}"
        if traceparent:
            self.headers["traceparent"] = traceparent

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Session"]:
        """Open a session over the transport that the last segment of the address selects.

        ``/mcp`` speaks Streamable HTTP only, ``/sse`` HTTP+SSE only; any other address is tried with SSE first.
        """
        session = await self._open()
        try:
            yield session
        finally:
            await session.close()

    async def _open(self) -> "Session":
        last = urlsplit(self.url).path.rstrip("/").rpartition("/")[2]
        if last == "mcp":
            return await self._initialized(StreamableSession(self))
        if last == "sse":
            return await self._initialized(SseSession(self))
        try:
            return await self._initialized(SseSession(self))
        except (McpError, httpx.HTTPError):
            return await self._initialized(StreamableSession(self))

    @staticmethod
    async def _initialized(session: "Session") -> "Session":
        ready = False
        try:
            await session.initialize()
            ready = True
        finally:
            if not ready:
                await session.close()
        return session

    async def discover_oauth(self) -> None:
        """What Dify 1.10 and later tries after a 401; without an answer the authorisation has failed."""
        parts = urlsplit(self.url)
        for path in _WELL_KNOWN:
            try:
                await self.http.get(f"{parts.scheme}://{parts.netloc}{path}")
            except httpx.HTTPError:
                return


class Session(ABC):
    """What both transports share: numbering, the handshake, and the reading of replies."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._next_id = 0
        self.session_id: str | None = None
        self.protocol_version: str | None = None

    async def initialize(self) -> None:
        result = await self.request(
            "initialize",
            {
                "protocolVersion": OFFERED_VERSION,
                "capabilities": {"sampling": {}, "roots": {"listChanged": True}},
                "clientInfo": {"name": "Dify", "version": "1.16.0"},
            },
        )
        self.protocol_version = result.get("protocolVersion")
        if self.protocol_version not in KNOWN_VERSIONS:
            raise McpError(f"Unsupported protocol version from the server: {self.protocol_version}")
        await self.notify_initialized()

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its result; raises McpError for a JSON-RPC error or a missing reply."""
        request_id, self._next_id = self._next_id, self._next_id + 1
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        reply = await self._exchange(message, request_id)
        if "error" in reply:
            raise McpError(str(reply["error"].get("message", reply["error"])))
        result = reply.get("result")
        if not isinstance(result, dict):
            raise McpError("the reply holds no result")
        return result

    @abstractmethod
    async def notify_initialized(self) -> None:
        """Tell the server that the handshake is done."""

    @abstractmethod
    async def _exchange(self, message: dict[str, Any], request_id: int) -> dict[str, Any]:
        """Send a request and return the JSON-RPC message that answers it."""

    @abstractmethod
    async def close(self) -> None:
        """End the session at the server, where it has one."""


class StreamableSession(Session):
    """Streamable HTTP: every message is a POST; a GET stream stays open beside it when a session id was issued."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._listener: asyncio.Task[None] | None = None

    def _headers(self) -> dict[str, str]:
        return self._target.headers | ({"mcp-session-id": self.session_id} if self.session_id else {})

    async def notify_initialized(self) -> None:
        if self.session_id is not None:
            self._listener = asyncio.create_task(self._listen())
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        response = await self._target.http.post(self._target.url, json=body, headers=self._headers())
        if response.status_code != 202:
            raise McpError(f"notification answered {response.status_code} instead of 202")

    async def _listen(self) -> None:
        # A server without such a stream answers 405, which Dify tolerates.
        try:
            headers = self._headers() | {"accept": "text/event-stream"}
            async with self._target.http.stream("GET", self._target.url, headers=headers) as response:
                async for _ in response.aiter_bytes():
                    pass
        except httpx.HTTPError:
            return

    async def _exchange(self, message: dict[str, Any], request_id: int) -> dict[str, Any]:
        target = self._target
        async with target.http.stream("POST", target.url, json=message, headers=self._headers()) as response:
            if response.status_code == 401:
                await target.discover_oauth()
                raise McpError("Unauthorized: the MCP server refused the key")
            if response.status_code >= 300:
                raise McpError(f"MCP server answered HTTP {response.status_code}")
            if message["method"] == "initialize":
                self.session_id = response.headers.get("mcp-session-id")
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                return await _reply_in(events(response), request_id)
            reply = json.loads(await response.aread())
            if not isinstance(reply, dict):
                raise McpError("the reply is not one JSON-RPC message")
            return reply

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
        if self.session_id is not None:
            try:
                await self._target.http.delete(self._target.url, headers=self._headers())
            except httpx.HTTPError:
                return


async def _reply_in(stream: AsyncIterator[tuple[str, str]], request_id: int) -> dict[str, Any]:
    async for name, data in stream:
        if name != "message" or not data:
            continue
        message = json.loads(data)
        if isinstance(message, dict) and message.get("id") == request_id and "method" not in message:
            return message
    raise McpError("the stream ended without a reply")


class SseSession(Session):
    """HTTP+SSE: one GET stream brings every reply; requests are POSTed to the address its first event names."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def initialize(self) -> None:
        self._reader = asyncio.create_task(self._read())
        await super().initialize()

    async def _read(self) -> None:
        headers = self._target.headers | {"accept": "text/event-stream"}
        problem: Exception = McpError("the stream ended without a reply")
        try:
            async with self._target.http.stream("GET", self._target.url, headers=headers) as response:
                if response.status_code != 200:
                    raise McpError(f"MCP server answered HTTP {response.status_code}")
                async for name, data in events(response):
                    self._take(name, data)
        except (McpError, httpx.HTTPError) as error:
            problem = error
        for waiting in self._waiting():
            if not waiting.done():
                waiting.set_exception(problem)

    def _waiting(self) -> list[asyncio.Future[Any]]:
        return [self._endpoint, *self._replies.values()]

    def _take(self, name: str, data: str) -> None:
        if name == "endpoint" and not self._endpoint.done():
            self._endpoint.set_result(urljoin(self._target.url, data))
        elif name == "message" and data:
            message = json.loads(data)
            waiting = self._replies.get(message.get("id"))
            if waiting is not None and "method" not in message and not waiting.done():
                waiting.set_result(message)

    async def _post(self, message: dict[str, Any]) -> None:
        response = await self._target.http.post(await self._endpoint, json=message, headers=self._target.headers)
        if response.status_code >= 300:
            raise McpError(f"MCP server answered HTTP {response.status_code}")

    async def notify_initialized(self) -> None:
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def _exchange(self, message: dict[str, Any], request_id: int) -> dict[str, Any]:
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[request_id] = waiting
        await self._post(message)
        return await waiting

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})
        for waiting in self._waiting():
            # An exception nobody waited for any more is read here, so that it is not reported as lost.
            if waiting.done() and not waiting.cancelled():
                waiting.exception()
            else:
                waiting.cancel()
