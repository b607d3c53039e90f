"""Receives any POST, records it, answers 200 or as a fault says; its own endpoints lie under /__sim__."""

import asyncio
import base64
import json
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

# Kind -> its parameters with their defaults. hang without seconds never answers; cut closes the socket in mid-answer.
KINDS: dict[str, dict[str, Any]] = {
    "status": {"status": 503, "retry_after": None},
    "hang": {"seconds": None},
    "cut": {},
}


@dataclass(slots=True)
class Fault:
    """Hits the next ``remaining`` requests whose path starts with ``path``; None hits them all."""

    kind: str
    params: dict[str, Any]
    remaining: int | None
    path: str = "/"

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "remaining": self.remaining, "path": self.path, **self.params}


def fault_from(spec: dict[str, Any]) -> Fault:
    """Read ``{"kind", "count"?, "path"?, …parameters}``; raises ValueError naming what is wrong."""
    kind = spec.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, one of {', '.join(KINDS)}")
    params = {name: value for name, value in spec.items() if name not in ("kind", "count", "path")}
    if unknown := sorted(set(params) - set(KINDS[kind])):
        raise ValueError(f"{kind} takes no {', '.join(unknown)}")
    times = spec.get("count")
    if times is not None and (not isinstance(times, int) or times < 1):
        raise ValueError("count is a whole number above 0, or null for no limit")
    return Fault(kind, KINDS[kind] | params, times, str(spec.get("path", "/")))


class CutResponse:
    """Promises more bytes than it sends, so that the server closes the socket and the caller sees a broken answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"res', "more_body": True})


class HungResponse:
    """Answers nothing until the caller leaves, or 200 after the seconds."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            await JSONResponse({"result": "ok"})(scope, receive, send)


class Receiver:
    """What came in, newest last and bounded, with totals since the last reset."""

    def __init__(self, keep: int) -> None:
        self.received: deque[dict[str, Any]] = deque(maxlen=keep)
        self.faults: list[Fault] = []
        self.counters: Counter[str] = Counter()
        # How often each idempotency key was answered 200: more than once is a duplicate a real service would drop.
        self.keys: Counter[str] = Counter()

    def next_fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.remaining != 0 and path.startswith(fault.path):
                if fault.remaining is not None:
                    fault.remaining -= 1
                return fault
        return None

    def record(self, path: str, headers: dict[str, str], body: bytes, answered: int | str) -> None:
        try:
            content: Any = json.loads(body)
        except ValueError:
            content = body.decode(errors="replace")
        key = headers.get("idempotency-key")
        self.counters["received_total"] += 1
        self.counters[f"answered_{answered}"] += 1
        if answered == 200 and key is not None:
            self.counters["duplicates_total"] += self.keys[key] > 0
            self.keys[key] += 1
        name = path.removeprefix("/push/") if path.startswith("/push/") else None
        entry = {"name": name, "path": path, "body": content, "headers": headers, "idempotency_key": key}
        if headers.get("content-encoding") == "aes128gcm":
            # Encrypted for a browser (RFC 8291): the bytes as they came, for whoever holds the browser's key.
            entry["body_base64"] = base64.b64encode(body).decode()
        self.received.append(entry | {"answered": answered, "received_at": datetime.now(UTC).isoformat()})

    async def receive(self, request: Request) -> ASGIApp:
        path, headers, body = request.url.path, dict(request.headers), await request.body()
        fault = self.next_fault(path)
        if fault is None:
            self.record(path, headers, body, 200)
            return JSONResponse({"result": "ok"})
        if fault.kind == "status":
            status = int(fault.params["status"])
            self.record(path, headers, body, status)
            wait = fault.params["retry_after"]
            return JSONResponse({"error": "simulated"}, status, {} if wait is None else {"retry-after": str(wait)})
        self.record(path, headers, body, fault.kind)
        return CutResponse() if fault.kind == "cut" else HungResponse(fault.params["seconds"])

    async def list_received(self, request: Request) -> Response:
        """Oldest first; ``?name=`` and ``?path=`` filter."""
        wanted = {name: request.query_params[name] for name in ("name", "path") if name in request.query_params}
        found = [entry for entry in self.received if all(entry[name] == value for name, value in wanted.items())]
        return JSONResponse({"received": found, "total": len(found)})

    async def stats(self, _request: Request) -> Response:
        return JSONResponse({"received_total": 0, "duplicates_total": 0, "keys": len(self.keys), **self.counters})

    async def reset(self, _request: Request) -> Response:
        self.received.clear()
        self.faults.clear()
        self.counters.clear()
        self.keys.clear()
        return JSONResponse({"result": "success"})

    async def add_fault(self, request: Request) -> Response:
        try:
            fault = fault_from(await request.json())
        except (ValueError, AttributeError) as error:
            return JSONResponse({"error": str(error)}, 422)
        self.faults.append(fault)
        return JSONResponse(fault.as_dict(), 201)

    async def list_faults(self, _request: Request) -> Response:
        return JSONResponse({"faults": [fault.as_dict() for fault in self.faults], "kinds": KINDS})

    async def clear_faults(self, _request: Request) -> Response:
        removed = len(self.faults)
        self.faults.clear()
        return JSONResponse({"removed": removed})


async def health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


class Inbox:
    """The receiver as raw ASGI, because a fault may answer with something that is no Response."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._receiver.receive(Request(scope, receive)))(scope, receive, send)


def build(*, keep: int = 5000) -> Starlette:
    """The whole process as one ASGI application; it remembers the newest ``keep`` requests."""
    receiver = Receiver(keep)
    table = [
        ("GET", "health", health),
        ("GET", "received", receiver.list_received),
        ("GET", "stats", receiver.stats),
        ("POST", "reset", receiver.reset),
        ("GET", "faults", receiver.list_faults),
        ("POST", "faults", receiver.add_fault),
        ("DELETE", "faults", receiver.clear_faults),
    ]
    routes = [Route(f"/__sim__/{name}", handler, methods=[method]) for method, name, handler in table]
    return Starlette(routes=[*routes, Route("/{path:path}", Inbox(receiver), methods=["POST", "PUT"])])
