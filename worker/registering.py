"""Sends one registration as a signup service would: signed, over HTTP, to the running stack."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
from standardwebhooks import Webhook

from core.clock import utc_now
from core.ids import new_id
from core.settings import MissingSettingError, get_settings

TIMEOUT_SECONDS = 15


@dataclass(frozen=True)
class Answer:
    """The webhook's answer, its body as JSON or text."""

    status: int
    body: Any


def send_registration(*, username: str, user_id: str | None, url: str | None, secret: str | None) -> Answer:
    """Send one; raise MissingSettingError when no stack runs, or it cannot be reached."""
    running = get_settings().running()
    target = url or (f"{running['api_url']}/hooks/registrations" if running else None)
    key = secret or running.get("webhook_secret")
    if not target or not key:
        raise MissingSettingError(
            f"no stack runs in {get_settings().data_dir}: start `anmei up`, or give --url and --secret"
        )
    body, headers = _signed(username, user_id or f"test-{new_id()}", key)
    try:
        response = httpx.post(target, content=body, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise MissingSettingError(f"{target} does not answer ({type(error).__name__}): is the stack up?") from error
    try:
        return Answer(response.status_code, response.json())
    except ValueError:
        return Answer(response.status_code, response.text)


def _signed(username: str, user_id: str, secret: str) -> tuple[bytes, dict[str, str]]:
    """Return body and headers, signed now as the Standard Webhooks specification says."""
    now = utc_now()
    data = {"user_id": user_id, "username": username, "locale": "zh-CN", "source": "anmei register"}
    body = json.dumps(
        {"type": "user.registered", "timestamp": now.isoformat(), "data": data | {"registered_at": now.isoformat()}},
        ensure_ascii=False,
    )
    webhook_id = f"msg_{new_id().hex}"
    return body.encode(), {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, body),
    }
