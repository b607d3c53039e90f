"""The database: two pools a process, for the engine's statements and for all others, and where transactions open."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeAlias

import orjson
import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from core import tracing
from core.errors import DatabaseUnavailableError
from core.settings import get_settings

# A statement that waits longer than this for a lock is given up and retried: nothing here holds a lock for seconds.
LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_SECONDS = 3
# A process that froze or was cut off inside a transaction gives its locks up after this long.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000
# A server that fell silent is given up after about this long, instead of the system's quarter of an hour.
_LIVENESS = {"keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15_000}

# Pages mostly come from memory or from disks that seek at no cost; the planner's default of 4 is a spinning disk's, and makes
# it read whole tables as long as they are small.
_COSTS = "-c random_page_cost=1.1"
# The journey's statements look up few rows by their keys, whatever the values are and however large the tables: planned
# once a connection, and only ever as look-ups. A table read whole, or an index for a join, is what the statistics of an
# empty table ask for, and a plan made then would be kept until the next ANALYZE, a minute of registrations later. Planning
# them each time was a quarter of what PostgreSQL did for a journey alone; compiling them costs more than to run them.
_KEPT_PLANS = (
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off "
    "-c random_page_cost=0.1 -c jit=off"
)


# Where a query runs that needs no ORM: in a session's transaction or on a bare connection.
Statements: TypeAlias = Session | Connection


class Pool(StrEnum):
    """Which connections a transaction runs on."""

    # Reports and forms: planned for the values given.
    GENERAL = "general"
    # The journey's few statements, again and again: prepared at once, planned once.
    JOURNEYS = "journeys"


_lock = threading.Lock()
_engines: tuple[int, dict[Pool, Engine]] | None = None
_pool_size = 8


def sqlalchemy_url(url: str) -> str:
    """Return the URL with our driver named, whatever form of postgres URL was configured."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


def set_pool_size(connections: int) -> None:
    """Size this process's pool (default 8); call before the first query."""
    global _pool_size
    _pool_size = connections


def engine(pool: Pool = Pool.GENERAL) -> Engine:
    """Return this process's engine. A forked child gets its own: connections must not be shared across a fork."""
    global _engines
    with _lock:
        if _engines is None or _engines[0] != os.getpid():
            if _engines is not None:
                for inherited in _engines[1].values():
                    inherited.dispose(close=False)
            _engines = (os.getpid(), {})
        engines = _engines[1]
        if pool not in engines:
            engines[pool] = _create_engine(pool)
        return engines[pool]


def dispose() -> None:
    """Close the pools' connections; the next use opens new ones."""
    global _engines
    with _lock:
        if _engines is not None and _engines[0] == os.getpid():
            for one in _engines[1].values():
                one.dispose()
        _engines = None


def is_unavailable(error: BaseException) -> bool:
    """Tell whether the error means that the database could not be reached or gave up, rather than refused the statement."""
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError)


@contextmanager
def unit_of_work() -> Iterator[Session]:
    """Open a transaction; commit at the end, roll back on any error. Nobody else commits.

    Raises DatabaseUnavailableError when the database cannot be reached or gave up (also when only the commit's answer was
    lost: the work may then be done or not, and every caller must bear both).
    """
    with _saying_unavailable(), tracing.span("transaction"):
        session = Session(engine(), expire_on_commit=False)
        try:
            with session.begin():
                yield session
        finally:
            session.close()


@contextmanager
def journey_work() -> Iterator[Connection]:
    """Like `unit_of_work`, for the journey's statements: on their own pool, and without the ORM's session.

    They look up a few rows by key and run all the time: nothing with a range of times or an optional filter in it, whose
    best plan depends on the values. Opening and closing a session costs as much as the shorter of them.
    """
    with _saying_unavailable(), tracing.span("transaction"), engine(Pool.JOURNEYS).begin() as connection:
        yield connection


@contextmanager
def _saying_unavailable() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        if is_unavailable(error):
            raise DatabaseUnavailableError(f"the database is not available: {type(error).__name__}") from error
        raise


# A connection that was in use this recently is taken to be alive: asking it would cost as much as the statement it is for.
FRESH_SECONDS = 1.0


def _create_engine(pool: Pool) -> Engine:
    kept = pool is Pool.JOURNEYS
    timeouts = (
        f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}"
    )
    # The driver prepares a statement at its sixth execution unless told; here there will be thousands.
    preparing: dict[str, Any] = {"prepare_threshold": 0} if kept else {}
    made = create_engine(
        sqlalchemy_url(get_settings().require_database_url()),
        pool_size=_pool_size,
        max_overflow=4,
        pool_timeout=5,
        # The connection used last is the next one: few of many stay warm, and those that are spare are not asked at all.
        pool_use_lifo=True,
        json_serializer=_journey_json if kept else None,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": f"-c timezone=UTC {timeouts} {_KEPT_PLANS if kept else _COSTS}",
            **_LIVENESS,
            **preparing,
        },
    )
    event.listen(made, "checkin", _note_use)
    event.listen(made, "checkout", _ping_if_stale)
    if tracing.enabled():
        from core import tracing_sql

        tracing_sql.watch(made)
    return made


def _journey_json(value: Any) -> str:
    """Return JSON as the journey's statements bind it, in a tenth of the time.

    Not for what people enter: a number that is none would become null here, where the standard library's text is refused.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Whole numbers beyond 64 bits and keys that are no texts are JSON all the same.
        return json.dumps(value)


def _note_use(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _ping_if_stale(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
    """Replace a connection that a server's restart has cut off, instead of failing the first statement on it."""
    used_at = record.info.get("used_at")
    if used_at is None or time.monotonic() - used_at < FRESH_SECONDS:
        return
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
        # Not rolled back: the driver forgets what it has prepared after a ROLLBACK.
        connection.commit()
    except psycopg.Error as error:
        # The pool closes it and tries another.
        raise DisconnectionError("the pooled connection is gone") from error
