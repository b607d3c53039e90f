"""A span for each SQL statement. Connected to an engine only where traces are on."""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import ExceptionContext

from core import tracing
from core.tracing import Kind

# Statements are composed of constant parts, every value is a bound parameter: the text holds no personal data.
STATEMENT_MAX = 2000
_OPEN = "anmei_span"


def watch(engine: Engine) -> None:
    """Record every statement of this engine in the span that is current."""
    event.listen(engine, "before_cursor_execute", _before)
    event.listen(engine, "after_cursor_execute", _after)
    event.listen(engine, "handle_error", _failed)


def _before(connection: Connection, _: Any, statement: str, *__: Any) -> None:
    words = statement.split(None, 1)
    connection.info[_OPEN] = tracing.span(
        words[0].upper() if words else "SQL",
        kind=Kind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.query.text": statement[:STATEMENT_MAX].strip()},
    )


def _after(connection: Connection, *_: Any) -> None:
    _end(connection, None)


def _failed(context: ExceptionContext) -> None:
    if context.connection is not None:
        _end(context.connection, context.original_exception)


def _end(connection: Connection, error: BaseException | None) -> None:
    open_span = connection.info.pop(_OPEN, None)
    if open_span is not None:
        open_span.end(error)
