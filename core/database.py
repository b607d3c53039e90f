"""The database: one engine a process, and the one place where transactions open."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

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
        with session.begin():
            yield session
    except (DBAPIError, PoolTimeoutError) as error:
        if is_unavailable(error):
            raise DatabaseUnavailableError(f"the database is not available: {type(error).__name__}") from error
        raise
    finally:
        session.close()


def _create_engine() -> Engine:
    return create_engine(
        sqlalchemy_url(get_settings().require_database_url()),
        pool_size=_pool_size,
        max_overflow=4,
        pool_timeout=5,
        # A server restart kills pooled connections; the ping replaces them instead of failing the first statement.
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": f"-c timezone=UTC -c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS}",
        },
    )
