"""What both providers share on the wire: checked addresses and headers, and one plain JSON call."""

import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr

from clients import agent_limits as limits
from clients.agent_codes import AgentCode
from clients.agent_errors import agent_error, refused
from clients.agent_loop import AgentLoop

_VERSION_SEGMENT = re.compile(r"/v\d+[a-z0-9]*$")
_PRINTABLE = re.compile(r"[!-~]+")


def endpoint(base_url: str, path: str) -> str:
    """Return the address of a path under the provider's API; `/v1` is added where the base names no version.

    Raises AGENT_BAD_URL unless the base is http or https with a host, and free of credentials, query and fragment.
    """
    return _api(base_url) + path


@lru_cache(maxsize=256)
def _api(base_url: str) -> str:
    base = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError:
        raise agent_error(AgentCode.BAD_URL, "the agent's address cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or port == 0:
        raise agent_error(AgentCode.BAD_URL, "the agent's address must be http(s)://host[:port][/path]")
    if parts.query or parts.fragment or not base.isprintable() or " " in base:
        raise agent_error(AgentCode.BAD_URL, "the agent's address must hold no query, fragment or blank")
    return base if _VERSION_SEGMENT.search(parts.path) else f"{base}/v1"


def headers(key: SecretStr, trace_id: str | None = None, traceparent: str | None = None) -> dict[str, str]:
    """Return the headers of a call; raise AGENT_BAD_KEY when the key could not travel in one."""
    value = key.get_secret_value().strip()
    if not _PRINTABLE.fullmatch(value):
        raise agent_error(AgentCode.BAD_KEY, "the agent's key is empty or holds characters no key has")
    sent = {
        "authorization": f"Bearer {value}",
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
    }
    if trace_id and _PRINTABLE.fullmatch(trace_id) and len(trace_id) <= 128:
        sent["x-trace-id"] = trace_id
    if traceparent:
        sent["traceparent"] = traceparent
    return sent


def error_parts(body: bytes) -> tuple[str, str]:
    """Return code and message of an error body, Dify's flat form or OpenAI's nested one; ("", "") when it is neither."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", ""
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        value = value["error"]
    if not isinstance(value, dict):
        return "", ""
    return str(value.get("code") or value.get("type") or ""), str(value.get("message") or "")


async def call(
    loop: AgentLoop, method: str, url: str, key: SecretStr, body: dict[str, Any] | None = None
) -> tuple[int, bytes]:
    """Make one short call and return its status, below 300, and body; raise our errors only."""
    content = None if body is None else orjson.dumps(body)
    reply = await loop.http.open(method, url, headers(key), content, limits.PLAIN_READ_SECONDS)
    try:
        answer = await reply.read_up_to(limits.MAX_REPLY_BYTES)
    finally:
        reply.close()
    if len(answer) > limits.MAX_REPLY_BYTES:
        raise agent_error(AgentCode.RESPONSE_TOO_LARGE, "the agent's reply is larger than allowed")
    if reply.status // 100 != 2:
        raise refused(reply.status, *error_parts(answer), key)
    return reply.status, answer


async def call_json(
    loop: AgentLoop, method: str, url: str, key: SecretStr, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Make one short call and return its JSON object; raise our errors only."""
    status, answer = await call(loop, method, url, key, body)
    if not answer and status == 204:
        return {}
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise agent_error(AgentCode.BAD_RESPONSE, "the agent's reply is no JSON object")
    return value
