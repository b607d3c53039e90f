"""Structured logs: a constant event name plus fields, for people on a console or as JSON lines."""

import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from core import tracing
from core.masking import masked_text
from core.settings import get_settings

_MASKED_FIELDS = {"phone", "email", "username", "password", "api_key", "token", "secret", "authorization"}
_PHONE = re.compile(r"\+?\d{7,15}(?=\D|$)")


_role = "process"


def current_role() -> str:
    """Return the role this process's logs were set up for."""
    return _role


def configure_logging(role: str) -> None:
    """Set up this process's logs: level and form from the settings, the role bound to every line."""
    global _role
    _role = role
    settings = get_settings()
    level = settings.log_level.upper()
    as_json = settings.log_format == "json"
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_json_text)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=28,
            # The other formatters print local variables: personal data and keys.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _bind_role(role),
        mask_personal_data,
    ]
    if tracing.enabled():
        shared.append(_name_trace)
    # Straight to the stream: by way of the standard library's loggers a line costs five times as much.
    own_renderer = structlog.processors.JSONRenderer(serializer=_json_bytes) if as_json else renderer
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, mask_free_text, own_renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer)
        if as_json
        else structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _configure_foreign(shared, renderer, level)


def _configure_foreign(shared: list[Any], renderer: Any, level: str) -> None:
    """Give the lines that other code writes through the standard library the same form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Foreign lines bring their errors here.
                structlog.processors.format_exc_info,
                mask_free_text,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # httpx, the MCP SDK and Celery log every request and message at INFO; ours say the same with the journey they belong to.
    for noisy in (
        "httpx",
        "httpcore",
        "mcp",
        "uvicorn.access",
        "alembic",
        "celery.worker.strategy",
        "celery.app.trace",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _json_bytes(event: EventDict, default: Callable[[Any], Any]) -> bytes:
    return orjson.dumps(event, default=default, option=orjson.OPT_NON_STR_KEYS)


def _json_text(event: EventDict, default: Callable[[Any], Any]) -> str:
    return _json_bytes(event, default).decode()


def mask_personal_data(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask personal fields by name: the first character stays, so that a line can still be told from another."""
    for name in _MASKED_FIELDS & event.keys():
        value = event[name]
        event[name] = value[:1] + "***" if isinstance(value, str) and value else "***"
    return event


# Where texts stand that others wrote: they may quote what a customer sent.
_FREE_TEXT_FIELDS = {"exception", "error", "reason", "detail"}


def mask_free_text(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask personal data and keys inside tracebacks and error texts, and in lines that foreign code wrote."""
    for name in _FREE_TEXT_FIELDS & event.keys():
        if isinstance(event[name], str):
            event[name] = masked_text(event[name])
    # Our own event names are constants of one word.
    if isinstance(event.get("event"), str) and " " in event["event"]:
        event["event"] = masked_text(event["event"])
    return event


def _name_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if "journey_id" in event:
        event.setdefault("trace_id", str(event["journey_id"]).replace("-", ""))
    return event


def mask_phone_numbers(text: str) -> str:
    """Return the text with everything that looks like a phone number masked."""
    return _PHONE.sub("***", text)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger of this module; its lines carry whatever was bound at the edge (journey, request)."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def _bind_role(role: str) -> Any:
    def bind(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("role", role)
        return event

    return bind
