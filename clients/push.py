"""Push channels: one call that takes a notification to a consultant's device or chat."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import httpx
import requests
import urllib3
from pydantic import SecretStr

from clients import bounded_call
from clients.address_guard import Guard, Network, is_literally_inside, leads_inside
from core.errors import AnmeiError, PermanentError, TransientError

if TYPE_CHECKING:
    # Loaded by whoever sends to such a channel, not at the start of every process that might (clients.alerts).
    import apprise

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
# One push from its first to its last byte: the limits above begin again with every byte a receiver lets drip.
CALL_SECONDS = 8.0
# What a channel says then; such a channel rests for a while.
TIMED_OUT = "the receiver did not come to an end in time"
TIMEOUT = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
# Answers that say "not now" rather than "not this".
RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
# Answers that say "nobody is here any more" (RFC 8030, 7.3).
GONE_STATUS = frozenset({404, 410})
# What a library raises that stumbles over what it was given or answered.
_CHOKED = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, OSError, urllib3.exceptions.HTTPError)
# How long a push service keeps a push for a browser that is off: a customer who waited longer has been taken, or widened.
WEBPUSH_TTL_SECONDS = 3600
# Services of Apprise's that notify the machine they run on, which is ours and no consultant's.
LOCAL_SERVICES = frozenset({"dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})

# Its own lines may quote a URL with its token.
logging.getLogger("apprise").setLevel(logging.CRITICAL)


class PushTransientError(TransientError):
    code = "PUSH_UNAVAILABLE"


class PushRefusedError(PermanentError):
    code = "PUSH_REFUSED"


class PushGoneError(PermanentError):
    """The receiver is gone for good: the channel is of no more use."""

    code = "PUSH_GONE"


class PushInternalError(PushRefusedError):
    """The address is not a public one, nor in a network that was allowed."""

    code = "PUSH_INTERNAL_ADDRESS"

    def __init__(self) -> None:
        super().__init__(
            "the address is an internal one: an administrator can allow its network in the settings (push)"
        )


@dataclass(frozen=True, slots=True)
class VapidKey:
    """The key web pushes are signed with (base64url, RFC 8292), and whom a push service may ask about them."""

    private: SecretStr
    contact: str


def send(
    kind: str,
    url: SecretStr,
    payload: Mapping[str, Any],
    *,
    idempotency_key: str,
    vapid: VapidKey | None = None,
    allowed: Sequence[Network] = (),
    seconds: float = CALL_SECONDS,
) -> None:
    """Send one notification; raise PushTransientError where a retry may help, PushGoneError where nobody is there any more,
    and PushRefusedError where it cannot help.

    It ends within `seconds` and a quarter, whatever the receiver does: PushTransientError with the code PUSH_TIMED_OUT, though it
    may have been taken. Of the answer nothing counts but its status; a body is not read, or a bounded piece of it.

    Public addresses are connected to, and those of the allowed networks; PushInternalError for any other, also where a
    name or a redirect led to it. The payload's `title` and `body` are shown; an HTTP receiver and a browser get all of it. HTTP receivers get the key as
    `Idempotency-Key`, so that a repeat after a lost answer can be told from a second push.
    """
    guard = Guard(allowed)
    try:
        error = bounded_call.call(
            lambda: _outcome(kind, url, payload, idempotency_key, vapid), guard, seconds=min(seconds, CALL_SECONDS)
        )
    except TimeoutError:
        raise _timed_out() from None
    # To the libraries a refused address is one that cannot be reached; a retry would not help here.
    if isinstance(error, PushTransientError) and guard.refused:
        raise PushInternalError
    if error is not None:
        raise error


def check(kind: str, url: SecretStr, *, allowed: Sequence[Network] = ()) -> None:
    """Raise PushRefusedError for an address that cannot be one of this kind, and PushInternalError for one that is neither
    public nor in an allowed network; nothing is sent. Names are looked up, and again whenever something is sent.
    """
    match kind:
        case "http":
            parsed = _parsed(url)
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise _bad_url("an http or https URL is needed")
            inside = leads_inside(parsed.host, allowed)
        case "webpush":
            inside = leads_inside(_parsed(SecretStr(_subscription(url)["endpoint"])).host, allowed)
        case _:
            # In the host's place other services have tokens, which are not for a name server to read.
            inside = any(is_literally_inside(str(one.host or ""), allowed) for one in _service(url))
    if inside:
        raise PushInternalError


def _outcome(
    kind: str, url: SecretStr, payload: Mapping[str, Any], idempotency_key: str, vapid: VapidKey | None
) -> AnmeiError | None:
    try:
        _send(kind, url, payload, idempotency_key, vapid)
    except AnmeiError as error:
        return error
    except _CHOKED as error:
        # The error's own text may quote the URL. The pushes beside this one go on.
        return PushRefusedError(f"the push cannot be sent: {type(error).__name__}")
    return None


def _send(kind: str, url: SecretStr, payload: Mapping[str, Any], idempotency_key: str, vapid: VapidKey | None) -> None:
    match kind:
        case "http":
            _post(url, payload, idempotency_key)
        case "webpush":
            _webpush(url, payload, vapid)
        case "apprise":
            _apprise(url, payload)
        case _:
            raise PushRefusedError(f"unknown kind of push channel: {kind}", code="PUSH_UNKNOWN_KIND")


def address(kind: str, url: SecretStr) -> str:
    """Return what makes two channels of a kind the same: of a browser's subscription its endpoint, else the whole URL."""
    return str(_subscription(url)["endpoint"]) if kind == "webpush" else url.get_secret_value()


def _post(url: SecretStr, payload: Mapping[str, Any], idempotency_key: str) -> None:
    try:
        headers = {"Idempotency-Key": idempotency_key}
        with _client().stream(
            "POST", url.get_secret_value(), json=dict(payload), headers=headers, timeout=TIMEOUT
        ) as answer:
            status = answer.status_code
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise _bad_url("the push channel's URL is not valid") from None
    except httpx.TimeoutException:
        raise _timed_out() from None
    except httpx.HTTPError as error:
        # The error's own text would name the URL, which may hold a token.
        raise PushTransientError(f"the push channel cannot be reached: {type(error).__name__}") from None
    _judge(status)


def _webpush(subscription: SecretStr, payload: Mapping[str, Any], vapid: VapidKey | None) -> None:
    if vapid is None:
        raise PushRefusedError("web pushes need a key to sign them with", code="PUSH_NO_KEY")
    # Imported where a browser is pushed to: it brings a second HTTP stack of 40 MB, which most processes never need.
    import py_vapid
    import pywebpush

    try:
        answer = pywebpush.webpush(
            _subscription(subscription),
            json.dumps(dict(payload), ensure_ascii=False),
            vapid_private_key=py_vapid.Vapid02.from_string(vapid.private.get_secret_value()),
            vapid_claims={"sub": vapid.contact},
            ttl=WEBPUSH_TTL_SECONDS,
            headers={"Urgency": "high"},
            timeout=ANSWER_SECONDS,
            requests_session=_session(),
        )
    except pywebpush.WebPushException as error:
        if error.response is None:
            raise PushRefusedError("the browser's subscription cannot be encrypted for") from None
        _judge(error.response.status_code)
        return
    except requests.Timeout:
        raise _timed_out() from None
    except requests.RequestException as error:
        raise PushTransientError(f"the push service cannot be reached: {type(error).__name__}") from None
    except ValueError:
        raise _bad_url("the browser's subscription holds no valid keys") from None
    if isinstance(answer, requests.Response):
        _judge(answer.status_code)


def _apprise(url: SecretStr, payload: Mapping[str, Any]) -> None:
    body = "\n".join(str(part) for part in (payload.get("body"), payload.get("link")) if part)
    service = _service(url)
    began = time.monotonic()
    if not service.notify(title=str(payload.get("title", "")), body=body):
        # The library says no more than that.
        if time.monotonic() - began >= CONNECT_SECONDS:
            raise _timed_out()
        raise PushTransientError("the service did not take the push")


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if status in GONE_STATUS:
        raise PushGoneError(f"the push channel answered {status}: nobody is there any more")
    if status >= 500 or status in RETRYABLE_STATUS:
        raise PushTransientError(f"the push channel answered {status}")
    raise PushRefusedError(f"the push channel answered {status}")


def _parsed(url: SecretStr) -> httpx.URL:
    try:
        return httpx.URL(url.get_secret_value())
    except httpx.InvalidURL:
        raise _bad_url("the push channel's URL is not valid") from None


def _subscription(stored: SecretStr) -> dict[str, Any]:
    """Return what a browser's PushSubscription.toJSON() gave: `endpoint` and `keys` with `p256dh` and `auth`."""
    try:
        value = json.loads(stored.get_secret_value())
    except ValueError:
        raise _bad_url("the subscription is no JSON") from None
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(keys, dict) or not all(isinstance(keys.get(name), str) for name in ("p256dh", "auth")):
        raise _bad_url("a subscription has an endpoint and keys with p256dh and auth")
    endpoint = value.get("endpoint")
    if not isinstance(endpoint, str) or _parsed(SecretStr(endpoint)).scheme not in ("http", "https"):
        raise _bad_url("a subscription's endpoint is an http or https URL")
    return {"endpoint": endpoint, "keys": {"p256dh": keys["p256dh"], "auth": keys["auth"]}}


def _service(url: SecretStr) -> "apprise.Apprise":
    import apprise

    bounded_call.bound_requests()
    # Several services of one URL are asked one after the other, in the thread that is bounded.
    service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))
    scheme = url.get_secret_value().partition(":")[0].strip().lower()
    if scheme in LOCAL_SERVICES or not service.add(url.get_secret_value()):
        raise _bad_url("the URL names no service that is known")
    for one in service:
        for name, value in _BOUNDS.items():
            setattr(one, name, value)
    return service


def _no_pause(*_: object, **__: object) -> None:
    """In the place of a service's throttle, which sleeps as long as the receiver says."""


# A URL may ask for any time limits (rto, cto), repeats and pauses (retry, wait): ours hold.
_BOUNDS = {
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_read_timeout": ANSWER_SECONDS,
    "retry": 0,
    "wait": 0.0,
    "throttle": _no_pause,
}


def _timed_out() -> PushTransientError:
    return PushTransientError(TIMED_OUT, code="PUSH_TIMED_OUT")


def _bad_url(message: str) -> PushRefusedError:
    return PushRefusedError(message, code="PUSH_BAD_URL")


@lru_cache(maxsize=1)
def _client() -> httpx.Client:
    # A connection for each push: one from before would be asked about by no guard, and cut by none.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.Client(follow_redirects=False, limits=limits)


class _Session(requests.Session):
    """Follows no redirect: a push service that sends elsewhere is not the one the browser named."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _session() -> requests.Session:
    # One for each call: sessions must not be shared between threads.
    session = _Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, bounded_call.StatusAdapter())
    return session
