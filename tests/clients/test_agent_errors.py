"""Every foreign failure has a place among ours."""

import inspect
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from aiohttp.http_exceptions import (
    BadStatusLine,
    ContentLengthError,
    HttpProcessingError,
    LineTooLong,
    TransferEncodingError,
)
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import SecretStr
from yarl import URL

from clients.agent_codes import BOUNDED_RETRY_CODES, TRANSIENT_CODES, AgentCode
from clients.agent_errors import refused
from clients.agent_http import from_transport
from core.errors import AgentPermanentError, AgentTransientError

KEY = SecretStr("app-Secret0123456789")
KEY_OF_HOST = ConnectionKey("agent.example", 443, True, True, None, None, None)
TOO_MANY = (
    "Too many requests. Please try again later. The current maximum concurrent requests allowed for this app is 10."
)

# One line for each exception class of aiohttp: a release that adds one fails here, not in production.
EXPECTED = {
    "ConnectionTimeoutError": "AGENT_UNREACHABLE",
    "ClientConnectorError": "AGENT_UNREACHABLE",
    "ClientConnectorDNSError": "AGENT_UNREACHABLE",
    "ClientConnectorSSLError": "AGENT_UNREACHABLE",
    "ClientConnectorCertificateError": "AGENT_UNREACHABLE",
    "ClientSSLError": "AGENT_UNREACHABLE",
    "ClientProxyConnectionError": "AGENT_UNREACHABLE",
    "ClientHttpProxyError": "AGENT_UNREACHABLE",
    "ServerFingerprintMismatch": "AGENT_UNREACHABLE",
    "SocketTimeoutError": "AGENT_TIMEOUT",
    "ServerTimeoutError": "AGENT_TIMEOUT",
    "InvalidURL": "AGENT_BAD_URL",
    "InvalidUrlClientError": "AGENT_BAD_URL",
    "InvalidUrlRedirectClientError": "AGENT_BAD_URL",
    "NonHttpUrlClientError": "AGENT_BAD_URL",
    "NonHttpUrlRedirectClientError": "AGENT_BAD_URL",
    "TooManyRedirects": "AGENT_REDIRECTED",
    "ContentTypeError": "AGENT_BAD_RESPONSE",
    "ClientResponseError": "AGENT_CONNECTION_LOST",
    "WSServerHandshakeError": "AGENT_CONNECTION_LOST",
    "ClientPayloadError": "AGENT_CONNECTION_LOST",
    "ClientConnectionError": "AGENT_CONNECTION_LOST",
    "ClientConnectionResetError": "AGENT_CONNECTION_LOST",
    "ClientOSError": "AGENT_CONNECTION_LOST",
    "ServerConnectionError": "AGENT_CONNECTION_LOST",
    "ServerDisconnectedError": "AGENT_CONNECTION_LOST",
    "UploadAbortedError": "AGENT_CONNECTION_LOST",
    "ClientError": "AGENT_CLIENT_FAULT",
    "RedirectClientError": "AGENT_CLIENT_FAULT",
}
# Warnings, and what only multipart bodies and web sockets raise.
ELSEWHERE = {
    "BadContentDispositionHeader",
    "BadContentDispositionParam",
    "EofStream",
    "WebSocketError",
    "WSMessageTypeError",
}


def exception_classes() -> dict[str, type[BaseException]]:
    return {
        name: value
        for name, value in vars(aiohttp).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__.startswith("aiohttp")
    }


def build(kind: type[BaseException]) -> BaseException:
    told = "failed with app-Secret0123456789"
    if issubclass(kind, aiohttp.ClientResponseError):
        address = URL("https://agent.example/?key=app-Secret0123456789")
        return kind(RequestInfo(address, "POST", CIMultiDictProxy(CIMultiDict()), address), (), message=told)
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        return kind(b"", b"", "agent.example", 443)
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        return kind(KEY_OF_HOST, OSError(told))
    if issubclass(kind, aiohttp.ClientConnectorError):
        return kind(KEY_OF_HOST, OSError(1, told))
    return kind(told)


def test_every_exception_class_of_aiohttp_is_mapped() -> None:
    classes = {name: kind for name, kind in exception_classes().items() if name not in ELSEWHERE}
    assert classes.keys() == EXPECTED.keys()

    mapped = {name: from_transport(build(kind)) for name, kind in classes.items()}

    assert {name: error.code for name, error in mapped.items()} == EXPECTED
    assert all("Secret" not in str(error) for error in mapped.values())


@pytest.mark.parametrize("kind", [BadStatusLine, LineTooLong, TransferEncodingError, ContentLengthError])
def test_what_is_no_http_is_mapped(kind: type[HttpProcessingError]) -> None:
    told = b"app-Secret0123456789"
    error = from_transport(kind(told, 1) if kind is LineTooLong else kind(told.decode()))

    assert error.code == "AGENT_CONNECTION_LOST"
    assert "Secret" not in str(error)


@pytest.mark.parametrize("error", [ConnectionResetError(), OSError("no route"), BrokenPipeError()])
def test_socket_errors_below_aiohttp_are_mapped(error: OSError) -> None:
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
