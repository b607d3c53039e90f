"""What tells whether the database is there and has the schema this code needs."""

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session


def find_schema_revision(session: Session) -> str | None:
    """Return the revision the schema is at; None where no migration ever ran."""
    try:
        return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except ProgrammingError:
        return None
