"""POST /hooks/registrations: the signup service tells of a new customer."""

import time
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_hooks.intake import Intake
from api_hooks.responses import answer_error, answer_http_exception
from clients.rate_limit import RateLimit
from core import tracing
from core.errors import AnmeiError, InvalidInputError
from services import automation, webhook_signature
from services.intake import Acceptance, IntakeStatus, Registration, Submission
from services.webhook_counts import count_webhook

router = APIRouter(tags=["webhook"])

PATH = "/hooks/registrations"
EVENT_TYPE = "user.registered"

MESSAGES = {
    IntakeStatus.ACCEPTED: "accepted: the conversation, the welcome and the notifications follow",
    IntakeStatus.DUPLICATE: "this registration is known: nothing was started a second time",
    IntakeStatus.SKIPPED: "recorded; no automation was started, for the reason given",
}


class NotJsonError(AnmeiError):
    code = "NOT_JSON"


# What a refusal is counted as, by the status it was answered with; 202 is counted where its outcome is known.
REFUSALS = {
    400: "malformed",
    401: "unauthorized",
    413: "too_large",
    422: "invalid",
    429: "rate_limited",
    503: "unavailable",
}


def is_registration(scope: Scope) -> bool:
    """Tell whether a request is one of the signup service's."""
    return bool(scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST")


class CountRefusalsMiddleware:
    """Counts the webhook's refusals, wherever below they were made."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_registration(scope):
            await self.app(scope, receive, send)
            return

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != 202:
                count_webhook(REFUSALS.get(message["status"], "error"))
            await send(message)

        await self.app(scope, receive, send_and_count)


class WebhookState:
    """What the webhook needs of its process; made in the application's lifespan."""

    def __init__(self) -> None:
        self.intake = Intake()
        self.rate_limit = RateLimit("registrations")

    async def close(self) -> None:
        await self.intake.drain()
        await self.rate_limit.close()


@router.post(PATH, status_code=202, summary="Accept one registration event")
async def receive_registration(request: Request) -> Response:
    """Verify, validate and commit one event; 202 means committed. Signed as the Standard Webhooks specification says."""
    state: WebhookState = request.app.state.webhook
    started_ns = time.time_ns()
    # The middleware bounds its size.
    body = await request.body()
    webhook_id = webhook_signature.verify(body, request.headers)
    event = _parse(body)
    if event.get("type") != EVENT_TYPE:
        return _answer(None, IntakeStatus.SKIPPED, "unknown_event_type")
    await state.rate_limit.check(automation.current().intake.rate_limit_per_second)
    acceptance = await state.intake.accept(Submission(_registration(event), webhook_id))
    if acceptance.status is not IntakeStatus.DUPLICATE:
        caller = request.headers.get("traceparent")
        tracing.root(f"POST {PATH}", acceptance.journey_id, started_ns=started_ns, traceparent=caller)
    return _answer(acceptance, acceptance.status, acceptance.reason)


async def serve_registration(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the endpoint as an ASGI application of its own, with the answers the API gives to errors."""
    request = Request(scope, receive, send)
    try:
        response = await receive_registration(request)
    except AnmeiError as error:
        response = await answer_error(request, error)
    except HTTPException as error:
        response = await answer_http_exception(request, error)
    await response(scope, receive, send)


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


def _answer(acceptance: Acceptance | None, status: IntakeStatus, reason: str | None) -> Response:
    count_webhook(status.value)
    data: dict[str, Any] = {"journey_id": str(acceptance.journey_id) if acceptance else None, "status": status.value}
    if reason is not None:
        data["reason"] = reason
    body = {"success": True, "data": data, "message": MESSAGES[status]}
    return Response(orjson.dumps(body), status_code=202, media_type="application/json")
