"""Every foreign failure has a place among ours."""

import inspect
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from clients.agent_codes import BOUNDED_RETRY_CODES, TRANSIENT_CODES, AgentCode
from clients.agent_errors import from_transport, refused
from core.errors import AgentPermanentError, AgentTransientError

KEY = SecretStr("app-Secret0123456789")
REQUEST = httpx.Request(
    "POST", "https://agent.example/v1/chat-messages", headers={"authorization": "Bearer app-Secret0123456789"}
)
TOO_MANY = (
    "Too many requests. Please try again later. The current maximum concurrent requests allowed for this app is 10."
)

# One line for each exception class of httpx: a release that adds one fails here, not in production.
EXPECTED = {
    "ConnectTimeout": "AGENT_UNREACHABLE",
    "ConnectError": "AGENT_UNREACHABLE",
    "ProxyError": "AGENT_UNREACHABLE",
    "ReadTimeout": "AGENT_TIMEOUT",
    "WriteTimeout": "AGENT_TIMEOUT",
    "TimeoutException": "AGENT_TIMEOUT",
    "PoolTimeout": "AGENT_POOL_EXHAUSTED",
    "ReadError": "AGENT_CONNECTION_LOST",
    "WriteError": "AGENT_CONNECTION_LOST",
    "CloseError": "AGENT_CONNECTION_LOST",
    "NetworkError": "AGENT_CONNECTION_LOST",
    "RemoteProtocolError": "AGENT_CONNECTION_LOST",
    "ProtocolError": "AGENT_CONNECTION_LOST",
    "TransportError": "AGENT_CONNECTION_LOST",
    "LocalProtocolError": "AGENT_BAD_REQUEST",
    "UnsupportedProtocol": "AGENT_BAD_URL",
    "InvalidURL": "AGENT_BAD_URL",
    "TooManyRedirects": "AGENT_REDIRECTED",
    "DecodingError": "AGENT_BAD_RESPONSE",
    "HTTPStatusError": "AGENT_UNAVAILABLE",
    "HTTPError": "AGENT_CLIENT_FAULT",
    "RequestError": "AGENT_CLIENT_FAULT",
    "StreamError": "AGENT_CLIENT_FAULT",
    "StreamConsumed": "AGENT_CLIENT_FAULT",
    "StreamClosed": "AGENT_CLIENT_FAULT",
    "ResponseNotRead": "AGENT_CLIENT_FAULT",
    "RequestNotRead": "AGENT_CLIENT_FAULT",
    "CookieConflict": "AGENT_CLIENT_FAULT",
}


def exception_classes() -> dict[str, type[BaseException]]:
    return {
        name: value
        for name, value in vars(httpx).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__.startswith("httpx")
    }


def build(kind: type[BaseException]) -> BaseException:
    if kind is httpx.HTTPStatusError:
        return httpx.HTTPStatusError("app-Secret0123456789", request=REQUEST, response=httpx.Response(503))
    if kind in (httpx.StreamConsumed, httpx.StreamClosed, httpx.ResponseNotRead, httpx.RequestNotRead):
        return kind()
    return kind("failed with app-Secret0123456789")


def test_every_exception_class_of_httpx_is_mapped() -> None:
    classes = exception_classes()
    assert classes.keys() == EXPECTED.keys()

    mapped = {name: from_transport(build(kind)) for name, kind in classes.items()}

    assert {name: error.code for name, error in mapped.items()} == EXPECTED
    assert all("Secret" not in str(error) for error in mapped.values())


@pytest.mark.parametrize("error", [ConnectionResetError(), OSError("no route"), BrokenPipeError()])
def test_socket_errors_below_httpx_are_mapped(error: OSError) -> None:
    assert from_transport(error).code == "AGENT_CONNECTION_LOST"


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (401, "unauthorized", "Access token is invalid", "AGENT_BAD_KEY"),
        (403, "forbidden", "The app's API service has been disabled.", "AGENT_FORBIDDEN"),
        (404, "not_found", "Conversation Not Exists.", "AGENT_NOT_FOUND"),
        (400, "invalid_param", "user_id is required in input form", "AGENT_BAD_REQUEST"),
        (400, "invalid_param", TOO_MANY, "AGENT_BUSY"),
        (429, "too_many_requests", TOO_MANY, "AGENT_BUSY"),
        (429, "rate_limit_error", "You have reached the rate limit of your subscription.", "AGENT_QUOTA"),
        (400, "completion_request_error", "[openai] Connection error", "AGENT_COMPLETION_ERROR"),
        (400, "provider_quota_exceeded", "", "AGENT_QUOTA"),
        (400, "provider_not_initialize", "", "AGENT_MISCONFIGURED"),
        (400, "model_currently_not_support", "", "AGENT_MISCONFIGURED"),
        (400, "app_unavailable", "", "AGENT_MISCONFIGURED"),
        (400, "not_chat_app", "", "AGENT_MISCONFIGURED"),
        (400, "agent_not_published", "", "AGENT_MISCONFIGURED"),
        (400, "conversation_completed", "", "AGENT_BAD_REQUEST"),
        (415, "unsupported_media_type", "", "AGENT_BAD_REQUEST"),
        (400, "something_new", "", "AGENT_BAD_REQUEST"),
        (429, "", "", "AGENT_BUSY"),
        (408, "", "", "AGENT_UNAVAILABLE"),
        (302, "", "", "AGENT_REDIRECTED"),
        (500, "internal_server_error", "", "AGENT_UNAVAILABLE"),
        (502, "", "", "AGENT_UNAVAILABLE"),
        (401, "invalid_api_key", "", "AGENT_BAD_KEY"),
        (429, "insufficient_quota", "", "AGENT_QUOTA"),
        (429, "rate_limit_exceeded", "", "AGENT_BUSY"),
    ],
)
def test_a_refusal_is_mapped_by_its_code_first_then_by_its_status(
    status: int, code: str, message: str, expected: str
) -> None:
    error = refused(status, code, message, KEY)

    assert error.code == expected
    assert isinstance(error, AgentTransientError if expected in TRANSIENT_CODES else AgentPermanentError)


def test_retries_are_bounded_only_for_transient_codes() -> None:
    assert BOUNDED_RETRY_CODES < TRANSIENT_CODES < set(AgentCode)


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-abcdef1234567890.",
        "header was Authorization: Bearer app-Other987654321",
        "key app-Secret0123456789 is bad",
        "mcp_key_abcdefgh12345 refused",
    ],
)
def test_no_key_survives_in_an_error(text: str) -> None:
    error: Any = refused(400, "bad_request", text, KEY)

    assert not any(part in str(error) + repr(error) for part in ("abcdef", "Secret", "Other987"))


def test_a_providers_text_is_one_bounded_line_without_control_characters() -> None:
    error = refused(500, "x\x1b[31m", "first\nsecond\u202e\x00" + "y" * 10_000, KEY)

    assert len(error.message) < 700
    assert error.message.isprintable()
