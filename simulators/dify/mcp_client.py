"""An MCP client that behaves on the wire as Dify's does: one session per call, ids from 0, 2025-06-18, no version header."""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from simulators.dify.runs import McpCall

OFFERED_VERSION = "2025-06-18"
# Dify 1.16 refuses a server that answers any newer revision.
KNOWN_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18"})
_ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
_WELL_KNOWN = ("/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server")


class McpError(Exception):
    """The session or the call failed; the text is what Dify hands to its model."""


def without_empty(arguments: dict[str, Any]) -> dict[str, Any]:
    """Drop null and empty-string arguments, as Dify does before every call."""
    return {name: value for name, value in arguments.items() if value is not None and value != ""}


def text_of(result: dict[str, Any]) -> tuple[str, bool]:
    """Concatenate the text parts of a tools/call result; structuredContent alone yields nothing. isError is only noted."""
    parts = result.get("content") or []
    text = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    return text, bool(result.get("isError"))


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


class McpClient:
    """Holds the address, the key and the connection pool; opens a new MCP session for every call."""

    def __init__(self, *, timeout_seconds: float = 30.0) -> None:
        self.url: str | None = None
        self.tools: list[str] | None = None
        self._key: str | None = None
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(timeout_seconds, connect=5.0), trust_env=False)
        self._timeout_seconds = timeout_seconds

    def configure(self, url: str, key: str | None) -> None:
        """Point at a server; its tools are unknown until ``authorize``."""
        self.url, self._key, self.tools = url, key, None

    async def authorize(self, url: str, key: str | None) -> list[str]:
        """List the server's tools once and keep the first page, as Dify does; raises McpError and changes nothing then."""
        probe = _Target(url, key, self._http, self._timeout_seconds)
        async with probe.session() as session:
            result = await session.request("tools/list", {})
        self.url, self._key = url, key
        self.tools = [str(tool["name"]) for tool in result.get("tools", [])]
        return self.tools

    def has_tool(self, name: str) -> bool:
        """Whether the app was given the tool. With an address from the command line it is taken to be there."""
        return self.url is not None and (self.tools is None or name in self.tools)

    async def call(self, tool: str, arguments: dict[str, Any]) -> McpCall:
        """Call the tool in a session of its own; a failure is recorded in the returned call, never raised."""
        record = McpCall(tool, without_empty(arguments))
        if self.url is None:
            record.error = "no MCP server was authorised"
            return record
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                async with _Target(self.url, self._key, self._http, self._timeout_seconds).session() as session:
                    record.session_id_issued = session.session_id is not None
                    record.protocol_version = session.protocol_version
                    result = await session.request("tools/call", {"name": tool, "arguments": record.arguments})
                    record.text, record.is_error = text_of(result)
        except (McpError, httpx.HTTPError, TimeoutError, json.JSONDecodeError) as error:
            record.error = str(error) or type(error).__name__
        record.duration_ms = round((time.perf_counter() - started) * 1000, 2)
        return record

    async def close(self) -> None:
        await self._http.aclose()


class _Target:
    """One server address with its key."""

    def __init__(self, url: str, key: str | None, http: httpx.AsyncClient, timeout_seconds: float) -> None:
        self.url, self.http, self.timeout_seconds = url, http, timeout_seconds
        self.headers = dict(_ACCEPT)
        if key:
            self.headers["authorization"] = f"Bearer {key}"

    @asynccontextmanager
    async def session(self) -> AsyncIterator["_Session"]:
        """Open a session over the transport that the last segment of the address selects."""
        session: _Session = _StreamableSession(self)
        try:
            await session.initialize()
            yield session
        finally:
            await session.close()

    async def discover_oauth(self) -> None:
        """What Dify 1.10 and later tries after a 401; without an answer the authorisation has failed."""
        parts = urlsplit(self.url)
        for path in _WELL_KNOWN:
            try:
                await self.http.get(f"{parts.scheme}://{parts.netloc}{path}")
            except httpx.HTTPError:
                return


class _Session(ABC):
    """What both transports share: numbering, the handshake, and the reading of replies."""

    def __init__(self, target: _Target) -> None:
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


class _StreamableSession(_Session):
    """Streamable HTTP: every message is a POST; a GET stream stays open beside it when a session id was issued."""

    def __init__(self, target: _Target) -> None:
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
