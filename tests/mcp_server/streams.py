"""Reading server-sent events on a thread, as a client that only listens."""

import contextlib
import json
import socket
import threading
from typing import Any, Self

import httpx

from tests.mcp_server.support import Client
from tests.support.waiting import wait_until

MODERN = "2026-07-28"
MODERN_HEADERS = {"mcp-protocol-version": MODERN}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


class Stream:
    """An open event stream: what came so far, and whether it ended."""

    def __init__(self, client: Client, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None):
        self.events: list[tuple[str, str]] = []
        self.ended = False
        self.status: int | None = None
        self._socket: socket.socket | None = None
        self._http = httpx.Client(base_url=client.base, timeout=30)
        content = json.dumps(body).encode() if body is not None else None
        sent = client.headers | {"content-type": "application/json"} | (headers or {})
        self._request = self._http.build_request(method, path, headers=sent, content=content)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.status is not None or self.ended)
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would not wake the thread that reads.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._http.close()

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(data) for name, data in list(self.events) if name == "message"]

    def methods(self) -> list[str]:
        return [message.get("method", "result") for message in self.messages()]

    def _read(self) -> None:
        name, data = "message", ""
        try:
            response = self._http.send(self._request, stream=True)
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
            self.status = response.status_code
            for line in response.iter_lines():
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data += line[5:].strip()
                elif not line and data:
                    self.events.append((name, data))
                    name, data = "message", ""
        except httpx.HTTPError as error:
            self.events.append(("error", type(error).__name__))
        finally:
            self.ended = True


def listening(client: Client) -> Stream:
    """A 2026-07-28 subscription to changes of the tools."""
    params = {"notifications": {"toolsListChanged": True}, "_meta": META}
    body = {"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params}
    return Stream(client, "POST", "/mcp", body, MODERN_HEADERS | {"mcp-method": "subscriptions/listen"})


def sse(client: Client) -> Stream:
    """A 2024-11-05 event stream; its first event says where to post."""
    return Stream(client, "GET", "/sse")


def endpoint_of(stream: Stream) -> str:
    wait_until(lambda: stream.events)
    name, data = stream.events[0]
    assert name == "endpoint"
    return data
