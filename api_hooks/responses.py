"""How answers look: the success envelope, and RFC 9457 problems for everything that went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from core.errors import (
    AnmeiError,
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
    RateLimitedError,
    TransientError,
)

T = TypeVar("T")

# Until a database or broker that was restarted answers again, as a rule.
RETRY_AFTER_SECONDS = 2
PROBLEM_JSON = "application/problem+json"

# The first class that fits decides; what fits none is a fault of ours.
STATUS_OF: tuple[tuple[type[AnmeiError], int], ...] = (
    (InvalidInputError, 422),
    (NotAuthenticatedError, 401),
    (NotAllowedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (RateLimitedError, 429),
    (TransientError, 503),
)
# Codes whose status is not their class's.
STATUS_OF_CODE = {
    "NOT_JSON": 400,
    "INVALID_CURSOR": 400,
    "PAYLOAD_TOO_LARGE": 413,
    "VERSION_CONFLICT": 412,
    "PRECONDITION_REQUIRED": 428,
}
TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Changed meanwhile",
    413: "Body too large",
    422: "Invalid input",
    428: "Precondition required",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available now",
}
CODES = {400: "BAD_REQUEST", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "PAYLOAD_TOO_LARGE"}


class Envelope(BaseModel, Generic[T]):
    """A successful answer."""

    success: Literal[True] = True
    data: T
    message: str = ""


class Page(BaseModel, Generic[T]):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[T]
    next_cursor: str | None = None


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """What went wrong, as RFC 9457 says, with a stable code to branch on."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    success: Literal[False] = False
    code: str = Field(description="Stable, SCREAMING_SNAKE.")
    request_id: str | None = None
    errors: list[FieldError] | None = None
    holder: str | None = Field(default=None, description="With code ALREADY_CLAIMED: who has the conversation.")


# Documented on every route; also keeps the framework's own shape of a 422 out of the description.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The caller must change something."},
    "5XX": {"model": Problem, "description": "The service cannot answer now."},
}


def describe_problems(app: FastAPI) -> None:
    """Have the OpenAPI description say that problems come as problems: the framework would list them as plain JSON."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            for operations in describe()["paths"].values():
                for operation in operations.values():
                    for status in PROBLEM_RESPONSES:
                        answer = operation["responses"][str(status)]
                        answer["content"] = {PROBLEM_JSON: next(iter(answer["content"].values()))}
        return describe()

    # The framework's documented way to extend the description (FastAPI, "Extending OpenAPI").
    app.openapi = described  # type: ignore[method-assign]


def ok(data: Any, message: str = "") -> dict[str, Any]:
    """Return the envelope of a success."""
    return {"success": True, "data": data, "message": message}


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    """Return a problem; the texts given here are the caller's to read, so they hold no secret and no trace."""
    body = Problem(
        title=TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        instance=request.url.path,
        code=code,
        request_id=request.scope.get("request_id"),
        **extra,
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type=PROBLEM_JSON,
    )


def install_error_handlers(app: FastAPI) -> None:
    """Let every error leave as a problem."""
    app.add_exception_handler(AnmeiError, answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(ValidationError, _answer_invalid_values)
    app.add_exception_handler(HTTPException, answer_http_exception)


def status_of(error: AnmeiError) -> int:
    """Return the HTTP status that says what kind of error this is."""
    if error.code in STATUS_OF_CODE:
        return STATUS_OF_CODE[error.code]
    return next((status for kind, status in STATUS_OF if isinstance(error, kind)), 500)


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Answer one of our errors, with the headers its status asks for."""
    if not isinstance(error, AnmeiError):
        raise error
    status = status_of(error)
    if status == 500:
        # Not the caller's fault, and its text may name what only we should know; the edge logs it with its trace.
        raise error
    return problem(request, status, error.code, error.message, headers=_headers(error, status), **_extra(error))


def _headers(error: AnmeiError, status: int) -> dict[str, str]:
    if isinstance(error, RateLimitedError):
        return {"Retry-After": str(max(1, error.retry_after_seconds))}
    if status == 503:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="anmei"'}
    return {}


def _extra(error: AnmeiError) -> dict[str, Any]:
    holder = getattr(error, "holder", None)
    return {"holder": holder} if holder else {}


async def _answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = error.errors()
    if any(one["type"] == "json_invalid" for one in problems):
        return problem(request, 400, "NOT_JSON", "the body is not JSON")
    return _invalid(request, problems)


async def _answer_invalid_values(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ValidationError):
        raise error
    return _invalid(request, error.errors(include_url=False, include_context=False, include_input=False))


def _invalid(request: Request, problems: Sequence[Any]) -> JSONResponse:
    """Answer 422 naming the fields. The values stay out: they may be personal data or a secret."""
    errors = [FieldError(field=".".join(map(str, one["loc"])), message=one["msg"]) for one in problems]
    detail = "; ".join(f"{one.field}: {one.message}" for one in errors)
    return problem(request, 422, "INVALID_INPUT", detail, errors=errors)


async def answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses by itself."""
    if not isinstance(error, HTTPException):
        raise error
    code = CODES.get(error.status_code, "ERROR")
    return problem(request, error.status_code, code, str(error.detail), headers=error.headers)
