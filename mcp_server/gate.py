"""The HTTP gate before every MCP door: host, origin, size, depth and key are checked here, before the SDK sees a request."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from core import crypto, tracing
from mcp_server.calls import Caller
from mcp_server.catalogue import Catalogue
from services.mcp_settings import LOOPBACK, McpSettings

# Who uses this server says which application it is, and whom it acts for, in these.
APP_ID_HEADER = b"x-caller-app-id"
ACTING_FOR_HEADER = b"x-acting-user"
TRACE_HEADER = b"traceparent"
MAX_HEADER_VALUE = 200
_KEY = re.compile(rb"mcp_key_[A-Za-z0-9_-]{20,128}\Z")


class Refusal(NamedTuple):
    """An answer of the gate: HTTP status, stable code, text for a person, and the challenge of RFC 6750."""

    status: int
    code: str
    message: str
    challenge: str | None = None
    allow: str | None = None

    def response(self) -> Response:
        body = orjson.dumps({"success": False, "code": self.code, "message": self.message})
        headers = {"cache-control": "no-store"}
        if self.challenge is not None:
            headers["www-authenticate"] = self.challenge
        if self.allow is not None:
            headers["allow"] = self.allow
        return Response(body, self.status, headers, media_type="application/json")


BAD_HOST = Refusal(421, "MCP_HOST_NOT_ALLOWED", "This Host is not among the server's allowed hosts.")
BAD_ORIGIN = Refusal(403, "MCP_ORIGIN_NOT_ALLOWED", "This Origin is not among the server's allowed origins.")
NO_KEY = Refusal(401, "MCP_KEY_MISSING", "Send the key as 'Authorization: Bearer mcp_key_…'.", 'Bearer realm="mcp"')
WRONG_KEY = Refusal(
    401,
    "MCP_KEY_INVALID",
    "The key is unknown, replaced or expired.",
    'Bearer realm="mcp", error="invalid_token"',
)
GROUP_DISABLED = Refusal(403, "MCP_GROUP_DISABLED", "The key's tool group is disabled.")
SERVER_OFF = Refusal(503, "MCP_DISABLED", "The MCP server is switched off.")
NOT_MOUNTED = Refusal(404, "NOT_FOUND", "There is nothing here.")
TOO_LARGE = Refusal(413, "MCP_BODY_TOO_LARGE", "The request body is too large.")
TOO_DEEP = Refusal(400, "MCP_BODY_TOO_DEEP", "The request's JSON is nested too deeply.")
NOT_JSON = Refusal(400, "MCP_BODY_NOT_JSON", "The request body is not JSON.")
ONLY_POST = Refusal(405, "MCP_METHOD_NOT_ALLOWED", "This address takes POST only.", allow="POST")
ONLY_GET = Refusal(405, "MCP_METHOD_NOT_ALLOWED", "This address takes GET only.", allow="GET")
NO_SESSION = Refusal(404, "MCP_SESSION_NOT_FOUND", "There is no such session; this server gives out none here.")


def check_origin(headers: list[tuple[bytes, bytes]], settings: McpSettings) -> Refusal | None:
    """Refuse a Host or an Origin that is not allowed: the defence against a browser used as a bridge (DNS rebinding)."""
    hosts = _values(headers, b"host")
    if len(hosts) != 1 or not _host_allowed(hosts[0].decode("latin-1"), settings.allowed_hosts):
        return BAD_HOST
    for origin in _values(headers, b"origin"):
        if not _origin_allowed(origin.decode("latin-1"), settings.allowed_origins):
            return BAD_ORIGIN
    return None


def authenticate(headers: list[tuple[bytes, bytes]], catalogue: Catalogue, transport: str) -> Caller | Refusal:
    """Return who is calling, by the one Authorization header; the key goes no further than this function."""
    presented = _values(headers, b"authorization")
    if len(presented) != 1:
        return NO_KEY
    scheme, _, key = presented[0].strip().partition(b" ")
    if scheme.lower() != b"bearer":
        return NO_KEY
    key = key.strip()
    group = None
    if _KEY.match(key):
        group = catalogue.group_of_key(crypto.lookup_hash(SecretStr(key.decode("ascii"))))
    if group is None:
        return WRONG_KEY
    if not group.enabled:
        return GROUP_DISABLED
    traceparent = _text(headers, TRACE_HEADER) if tracing.enabled() else None
    return Caller(group, transport, _text(headers, APP_ID_HEADER), _text(headers, ACTING_FOR_HEADER), traceparent)


def cleaned_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers with blanks around the values of `mcp-*` removed (some parsers leave them), and without the key."""
    return [
        (name, value.strip() if name.startswith(b"mcp-") else value)
        for name, value in headers
        if name != b"authorization"
    ]


async def read_body(receive: Receive, headers: list[tuple[bytes, bytes]], max_bytes: int) -> bytes | None:
    """Return the whole body, or None when it is larger than allowed or the client left while sending it."""
    declared = _values(headers, b"content-length")
    if declared and declared[0].isdigit() and int(declared[0]) > max_bytes:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > max_bytes:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def parse(body: bytes, max_depth: int) -> Any:
    """Return the body as JSON, or the refusal where it is none or is nested too deeply."""
    # Cheaper than walking the parsed value, and exact where it matters: brackets inside strings only make it stricter.
    if body.count(b"[") + body.count(b"{") > max_depth and _depth(body) > max_depth:
        return TOO_DEEP
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return NOT_JSON


def replaying(body: bytes, receive: Receive) -> Receive:
    """Return a receive channel that gives the body that was read already, then whatever the client does next."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    await refusal.response()(scope, receive, send)


def _depth(body: bytes) -> int:
    depth = deepest = 0
    inside = escaped = False
    for byte in body:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            deepest = max(deepest, depth)
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return deepest


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _text(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    values = _values(headers, name)
    return values[0].decode("latin-1")[:MAX_HEADER_VALUE] or None if values else None


def _host_allowed(host: str, allowed: Iterable[str]) -> bool:
    name = _without_port(host).lower()
    if name in LOOPBACK:
        return True
    for entry in allowed:
        entry = entry.lower().removesuffix(":*")
        if entry in (name, host.lower()):
            return True
        if entry.startswith("*.") and name.endswith(entry[1:]) and len(name) > len(entry) - 1:
            return True
    return False


def _origin_allowed(origin: str, allowed: Iterable[str]) -> bool:
    if origin in allowed:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.path or parts.query:
        return False
    return _without_port(parts.netloc).lower() in LOOPBACK


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
