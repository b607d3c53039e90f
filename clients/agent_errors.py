"""Refusals of agents, mapped to our two errors; the codes are in agent_codes. What the network raises is in agent_http."""

import re

from pydantic import SecretStr

from clients.agent_codes import TRANSIENT_CODES, AgentCode
from core.errors import AgentPermanentError, AgentTransientError

AgentError = AgentTransientError | AgentPermanentError

# Longer texts of a provider say no more, and an operator's page has to show them.
_SHOWN_CHARACTERS = 300
_KEY_LIKE = re.compile(r"(?i)\b(bearer\s+\S+|(?:app|sk|mcp_key|key)[-_][A-Za-z0-9*_\-.]{6,})")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")


# Dify's codes, before the stream and in it. What is not listed is judged by its HTTP status.
_DIFY_CODES = {
    "unauthorized": AgentCode.BAD_KEY,
    "forbidden": AgentCode.FORBIDDEN,
    "not_found": AgentCode.NOT_FOUND,
    "invalid_param": AgentCode.BAD_REQUEST,
    "bad_request": AgentCode.BAD_REQUEST,
    "unsupported_media_type": AgentCode.BAD_REQUEST,
    "conversation_completed": AgentCode.BAD_REQUEST,
    "app_unavailable": AgentCode.MISCONFIGURED,
    "not_chat_app": AgentCode.MISCONFIGURED,
    "not_workflow_app": AgentCode.MISCONFIGURED,
    "agent_not_published": AgentCode.MISCONFIGURED,
    "provider_not_initialize": AgentCode.MISCONFIGURED,
    "model_currently_not_support": AgentCode.MISCONFIGURED,
    "provider_quota_exceeded": AgentCode.QUOTA,
    "rate_limit_error": AgentCode.QUOTA,
    "too_many_requests": AgentCode.BUSY,
    "completion_request_error": AgentCode.COMPLETION_ERROR,
    "internal_server_error": AgentCode.UNAVAILABLE,
    # OpenAI's words.
    "invalid_api_key": AgentCode.BAD_KEY,
    "insufficient_quota": AgentCode.QUOTA,
    "rate_limit_exceeded": AgentCode.BUSY,
    "model_not_found": AgentCode.MISCONFIGURED,
    "content_filter": AgentCode.CONTENT_FILTERED,
}


def agent_error(code: AgentCode, message: str) -> AgentError:
    """Build the error of this code, transient or permanent as the code says."""
    kind = AgentTransientError if code in TRANSIENT_CODES else AgentPermanentError
    return kind(message, code=str(code))


def refused(status: int, code: str, message: str, key: SecretStr) -> AgentError:
    """Map a provider's refusal: its HTTP status (or an event's `status`), its code and its text."""
    return agent_error(
        _code_of(status, code, message), f"the agent answered {status} {shown(code, key)}: {shown(message, key)}"
    )


def _code_of(status: int, code: str, message: str) -> AgentCode:
    # Dify documents 429 too_many_requests for its concurrency limit, but answers 400 invalid_param with this text.
    if status == 400 and message.lower().startswith("too many requests"):
        return AgentCode.BUSY
    if code in _DIFY_CODES:
        return _DIFY_CODES[code]
    by_status = {
        401: AgentCode.BAD_KEY,
        402: AgentCode.QUOTA,
        403: AgentCode.FORBIDDEN,
        404: AgentCode.NOT_FOUND,
        408: AgentCode.UNAVAILABLE,
        425: AgentCode.UNAVAILABLE,
        429: AgentCode.BUSY,
    }
    if status in by_status:
        return by_status[status]
    if 200 <= status < 300:
        return AgentCode.BAD_RESPONSE
    if 300 <= status < 400:
        return AgentCode.REDIRECTED
    if 400 <= status < 500:
        return AgentCode.BAD_REQUEST
    return AgentCode.UNAVAILABLE


def shown(text: str, key: SecretStr) -> str:
    """Return a provider's text fit for an operator: one line, bounded, no control characters, nothing like a key."""
    value = key.get_secret_value()
    if value:
        text = text.replace(value, "***")
    return _KEY_LIKE.sub("***", _UNPRINTABLE.sub(" ", text))[:_SHOWN_CHARACTERS].strip()
