"""Small reads about the database itself, for readiness."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from models import ToolGroup


def check_schema(session: Session) -> None:
    """Touch a table of ours: fails where the migrations have not run."""
    session.execute(select(ToolGroup.id).limit(1))


def database_size_bytes(session: Session) -> int:
    return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)
