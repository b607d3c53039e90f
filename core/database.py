"""The database: one engine a process, and the one place where transactions open."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from core import tracing
from core.errors import DatabaseUnavailableError
from core.settings import get_settings

# A statement that waits longer than this for a lock is given up and retried: nothing here holds a lock for seconds.
LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_SECONDS = 3

_lock = threading.Lock()
_engine: tuple[int, Engine] | None = None
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


def engine() -> Engine:
    """Return this process's engine. A forked child gets its own: connections must not be shared across a fork."""
    global _engine
    with _lock:
        if _engine is None or _engine[0] != os.getpid():
            if _engine is not None:
                _engine[1].dispose(close=False)
            _engine = (os.getpid(), _create_engine())
        return _engine[1]


def dispose() -> None:
    """Close the pool's connections; the next use opens new ones."""
    global _engine
    with _lock:
        if _engine is not None and _engine[0] == os.getpid():
            _engine[1].dispose()
        _engine = None


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
    session = sessionmaker(engine(), expire_on_commit=False)()
    try:
        with tracing.span("transaction"), session.begin():
            yield session
    except (DBAPIError, PoolTimeoutError) as error:
        if is_unavailable(error):
            raise DatabaseUnavailableError(f"the database is not available: {type(error).__name__}") from error
        raise
    finally:
        session.close()


# A connection that was in use this recently is taken to be alive: asking it would cost as much as the statement it is for.
FRESH_SECONDS = 1.0


def _create_engine() -> Engine:
    made = create_engine(
        sqlalchemy_url(get_settings().require_database_url()),
        pool_size=_pool_size,
        max_overflow=4,
        pool_timeout=5,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": f"-c timezone=UTC -c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS}",
        },
    )
    event.listen(made, "checkin", _note_use)
    event.listen(made, "checkout", _ping_if_stale)
    if tracing.enabled():
        from core import tracing_sql

        tracing_sql.watch(made)
    return made


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
        connection.rollback()
    except psycopg.Error as error:
        # The pool closes it and tries another.
        raise DisconnectionError("the pooled connection is gone") from error
