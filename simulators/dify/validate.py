"""What Dify checks before it starts a run, with the codes and words of its own refusals."""

import json
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse

from simulators.dify.profiles import CHAT_MODES, App


class Refused(Exception):
    """A request answered with Dify's error body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> JSONResponse:
        return JSONResponse({"code": self.code, "message": self.message, "status": self.status}, self.status)


def invalid_param(message: str) -> Refused:
    return Refused(400, "invalid_param", message)


def app_for(request: Request, apps: dict[str, App]) -> App:
    """Find the app its key selects; raises Refused 401 or 403."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refused(401, "unauthorized", "Authorization header must be provided and start with 'Bearer'")
    app = apps.get(key.strip())
    if app is None:
        raise Refused(401, "unauthorized", "Access token is invalid")
    if not app.enabled:
        raise Refused(403, "forbidden", "The app's API service has been disabled.")
    return app


async def json_object(request: Request) -> dict[str, Any]:
    """Read the body; raises Refused 415 for another content type, 400 when it does not parse."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        problem = "Did not attempt to load JSON data because the request Content-Type was not 'application/json'."
        raise Refused(415, "unsupported_media_type", problem)
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise Refused(400, "bad_request", f"Failed to decode JSON object: {error}") from error
    if not isinstance(body, dict):
        raise invalid_param("Input payload validation failed: not an object")
    return body


def user_of(body: dict[str, Any]) -> str:
    user = body.get("user")
    if not isinstance(user, str) or not user:
        raise invalid_param("Arg user must be provided.")
    return user


def inputs_of(body: dict[str, Any], app: App) -> dict[str, Any]:
    """Keep the declared inputs; unknown ones are dropped silently, wrong ones refused."""
    given = body.get("inputs")
    if not isinstance(given, dict):
        raise invalid_param("inputs is required and must be an object")
    kept: dict[str, Any] = {}
    for variable in app.input_form:
        value = given.get(variable.name)
        if value is None:
            if variable.required:
                raise invalid_param(f"{variable.name} is required in input form")
            continue
        if not isinstance(value, str):
            raise invalid_param(f"(type '{variable.kind}') {variable.name} in input form must be a string")
        if len(value) > variable.max_length:
            raise invalid_param(f"{variable.name} in input form must be less than {variable.max_length} characters")
        kept[variable.name] = value.replace("\x00", "")
    return kept


def response_mode_of(body: dict[str, Any], app: App) -> str:
    """Omitted means blocking; agent apps only stream."""
    mode = body.get("response_mode") or "blocking"
    if mode not in ("streaming", "blocking"):
        raise invalid_param("response_mode must be one of: streaming, blocking")
    if mode == "blocking" and app.mode == "agent":
        raise invalid_param("Agent Chat App does not support blocking mode")
    if mode == "blocking" and app.mode == "new-agent":
        raise invalid_param("Agent App does not support blocking mode")
    return str(mode)


def query_of(body: dict[str, Any], app: App) -> str:
    query = body.get("query")
    if app.mode not in CHAT_MODES:
        return query if isinstance(query, str) else ""
    if not isinstance(query, str) or not query.strip():
        raise invalid_param("query is required")
    return query.replace("\x00", "")


def conversation_of(body: dict[str, Any]) -> str | None:
    """The conversation to go on with, or None for a new one; raises Refused when it is no UUID."""
    conversation_id = body.get("conversation_id")
    if conversation_id in (None, ""):
        return None
    try:
        return str(UUID(str(conversation_id)))
    except ValueError as error:
        raise invalid_param("conversation_id must be a valid UUID") from error
