"""The MCP client of the simulated Dify: an address, a key, the stored tool list, and one new session per call."""

import asyncio
import json
import time
from typing import Any

import httpx

from simulators.dify.mcp_sessions import McpError, Target
from simulators.dify.runs import McpCall


def without_empty(arguments: dict[str, Any]) -> dict[str, Any]:
    """Drop null and empty-string arguments, as Dify does before every call."""
    return {name: value for name, value in arguments.items() if value is not None and value != ""}


def text_of(result: dict[str, Any]) -> tuple[str, bool]:
    """Concatenate the text parts of a tools/call result; structuredContent alone yields nothing. isError is only noted."""
    parts = result.get("content") or []
    text = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    return text, bool(result.get("isError"))


class McpClient:
    """Holds the address, the key and the connection pool; opens a new MCP session for every call."""

    def __init__(self, *, timeout_seconds: float = 30.0) -> None:
        self.url: str | None = None
        self.tools: list[str] | None = None
        self._key: str | None = None
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_seconds, connect=5.0), follow_redirects=True, trust_env=False
        )
        self._timeout_seconds = timeout_seconds

    def configure(self, url: str, key: str | None) -> None:
        """Point at a server; its tools are unknown until ``authorize``."""
        self.url, self._key, self.tools = url, key, None

    async def authorize(self, url: str, key: str | None) -> list[str]:
        """List the server's tools once and keep the first page, as Dify does; raises McpError and changes nothing then."""
        probe = Target(url, key, self._http, self._timeout_seconds)
        async with probe.session() as session:
            result = await session.request("tools/list", {})
        self.url, self._key = url, key
        self.tools = [str(tool["name"]) for tool in result.get("tools", [])]
        return self.tools

    def has_tool(self, name: str) -> bool:
        """Whether the app was given the tool. With an address from the command line it is taken to be there."""
        return self.url is not None and (self.tools is None or name in self.tools)

    async def call(self, tool: str, arguments: dict[str, Any], *, traceparent: str | None = None) -> McpCall:
        """Call the tool in a session of its own; a failure is recorded in the returned call, never raised."""
        record = McpCall(tool, without_empty(arguments))
        if self.url is None:
            record.error = "no MCP server was authorised"
            return record
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                target = Target(self.url, self._key, self._http, self._timeout_seconds, traceparent)
                async with target.session() as session:
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
