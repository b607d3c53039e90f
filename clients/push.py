"""Push channels: one call that takes a notification to a consultant's device or chat."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import httpx
from pydantic import SecretStr

from core.errors import PermanentError, TransientError

TIMEOUT = httpx.Timeout(5.0, connect=2.0)
# Answers that say "not now" rather than "not this".
RETRYABLE_STATUS = frozenset({408, 409, 425, 429})


class PushTransientError(TransientError):
    code = "PUSH_UNAVAILABLE"


class PushRefusedError(PermanentError):
    code = "PUSH_REFUSED"


def send(kind: str, url: SecretStr, payload: Mapping[str, Any], *, idempotency_key: str) -> None:
    """Send one notification; raise PushTransientError where a retry may help and PushRefusedError where it cannot.

    The receiver gets the key as `Idempotency-Key`, so that a repeat after a lost answer can be told from a second push.
    """
    if kind != "http":
        raise PushRefusedError(f"unknown kind of push channel: {kind}", code="PUSH_UNKNOWN_KIND")
    try:
        answer = _client().post(
            url.get_secret_value(), json=dict(payload), headers={"Idempotency-Key": idempotency_key}
        )
    except httpx.InvalidURL:
        raise PushRefusedError("the push channel's URL is not valid", code="PUSH_BAD_URL") from None
    except httpx.HTTPError as error:
        # The error's own text would name the URL, which may hold a token.
        raise PushTransientError(f"the push channel cannot be reached: {type(error).__name__}") from None
    if answer.is_success:
        return
    if answer.status_code >= 500 or answer.status_code in RETRYABLE_STATUS:
        raise PushTransientError(f"the push channel answered {answer.status_code}")
    raise PushRefusedError(f"the push channel answered {answer.status_code}")


@lru_cache(maxsize=1)
def _client() -> httpx.Client:
    return httpx.Client(timeout=TIMEOUT, follow_redirects=False, limits=httpx.Limits(max_connections=20))
