"""Live sockets of consultants, as rows that expire."""

from sqlalchemy import text
from sqlalchemy.orm import Session

_DELETE_EXPIRED = text("""
WITH gone AS (DELETE FROM consultant_connections WHERE expires_at < now() - interval '1 minute' RETURNING 1)
SELECT count(*) FROM gone
""")


def delete_expired(session: Session) -> int:
    """Delete connections that expired a minute ago or more; return how many."""
    return int(session.execute(_DELETE_EXPIRED).scalar_one())
