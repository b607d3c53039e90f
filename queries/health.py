"""What tells whether the database is there and has the schema this code needs."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session


def find_schema_revision(session: Session) -> str | None:
    """Return the revision the schema is at; None where no migration ever ran."""
    try:
        return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except ProgrammingError:
        return None


def get_database_time(session: Session) -> datetime:
    """Return what the database's clock shows."""
    now: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


_CALLS_OF_A_DAY = text("""
SELECT (SELECT count(*) FROM agent_calls WHERE started_at > now() - interval '1 day' AND status = 'succeeded') AS answered,
       EXISTS (SELECT FROM mcp_call_logs WHERE created_at > now() - interval '1 day' AND journey_id IS NOT NULL) AS used
""")


def count_agent_and_tool_calls(session: Session) -> tuple[int, bool]:
    """Return how many agent calls were answered within a day, and whether any of them called one of our tools."""
    row = session.execute(_CALLS_OF_A_DAY).one()
    return row.answered, row.used
