"""Whether the MCP server can work, and what an administrator sees of it."""

from sqlalchemy.exc import ProgrammingError

from core.database import unit_of_work
from core.errors import PermanentError
from queries import mcp_status as queries


def check_database() -> None:
    """Raise DatabaseUnavailableError, or PermanentError where the migrations have not run."""
    try:
        with unit_of_work() as session:
            queries.check_schema(session)
    except ProgrammingError:
        raise PermanentError("the database is not migrated", code="NOT_MIGRATED") from None
