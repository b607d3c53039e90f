"""POST /hooks/registrations: the signup service tells of a new customer."""

from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import ORJSONResponse
from pydantic import ValidationError

from api_hooks.intake import Intake
from clients.rate_limit import RateLimit
from core.errors import AnmeiError, InvalidInputError
from services import automation, webhook_signature
from services.intake import Acceptance, IntakeStatus, Registration, Submission

router = APIRouter(tags=["webhook"])

BODY_MAX_BYTES = 64 * 1024
EVENT_TYPE = "user.registered"

MESSAGES = {
    IntakeStatus.ACCEPTED: "accepted: the conversation, the welcome and the notifications follow",
    IntakeStatus.DUPLICATE: "this registration is known: nothing was started a second time",
    IntakeStatus.SKIPPED: "recorded; no automation was started, for the reason given",
}


class PayloadTooLargeError(AnmeiError):
    code = "PAYLOAD_TOO_LARGE"


class NotJsonError(AnmeiError):
    code = "NOT_JSON"


class WebhookState:
    """What the webhook needs of its process; made in the application's lifespan."""

    def __init__(self) -> None:
        self.intake = Intake()
        self.rate_limit = RateLimit("registrations")

    async def close(self) -> None:
        await self.intake.drain()
        await self.rate_limit.close()


@router.post("/hooks/registrations", status_code=202, summary="Accept one registration event")
async def receive_registration(request: Request) -> ORJSONResponse:
    """Verify, validate and commit one event; 202 means committed. Signed as the Standard Webhooks specification says."""
    state: WebhookState = request.app.state.webhook
    body = await _read_body(request)
    webhook_id = webhook_signature.verify(body, request.headers)
    event = _parse(body)
    if event.get("type") != EVENT_TYPE:
        return _answer(None, IntakeStatus.SKIPPED, "unknown_event_type")
    await state.rate_limit.check(automation.current().intake.rate_limit_per_second)
    acceptance = await state.intake.accept(Submission(_registration(event), webhook_id))
    return _answer(acceptance, acceptance.status, acceptance.reason)


async def _read_body(request: Request) -> bytes:
    """Return the body, reading no more of it than is allowed; raise PayloadTooLargeError."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_MAX_BYTES:
            raise PayloadTooLargeError(f"the body is larger than {BODY_MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJsonError(f"the body is not JSON: {error}") from None
    if not isinstance(event, dict):
        raise InvalidInputError("the body must be a JSON object with type and data")
    if not isinstance(event.get("type"), str):
        raise InvalidInputError("type: must be a text such as user.registered")
    return event


def _registration(event: dict[str, Any]) -> Registration:
    data = event.get("data")
    if not isinstance(data, dict):
        raise InvalidInputError("data: must be an object with at least user_id and username")
    try:
        return Registration.model_validate(data)
    except ValidationError as error:
        # The offending values stay out of the answer: they are personal data.
        problems = "; ".join(f"data.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidInputError(problems) from None


def _answer(acceptance: Acceptance | None, status: IntakeStatus, reason: str | None) -> ORJSONResponse:
    data: dict[str, Any] = {"journey_id": str(acceptance.journey_id) if acceptance else None, "status": status.value}
    if reason is not None:
        data["reason"] = reason
    return ORJSONResponse({"success": True, "data": data, "message": MESSAGES[status]}, status_code=202)
