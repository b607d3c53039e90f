"""What a support bundle says of the database: sizes, activity and counts; nothing of anybody."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

_PARTS = {
    "server": """SELECT version(), pg_size_pretty(pg_database_size(current_database())) AS size,
        pg_postmaster_start_time() AS started_at, clock_timestamp() AS clock""",
    "settings": """SELECT name, setting, unit FROM pg_settings WHERE name IN ('max_connections', 'shared_buffers', 'work_mem',
        'synchronous_commit', 'fsync', 'wal_level', 'max_wal_size', 'statement_timeout', 'lock_timeout') ORDER BY name""",
    "activity": """SELECT state, wait_event_type, wait_event, count(*), max(now() - xact_start)::text AS longest_transaction
        FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2, 3 ORDER BY 4 DESC""",
    "tables": """SELECT relname AS "table", n_live_tup AS live_rows, n_dead_tup AS dead_rows,
        pg_size_pretty(pg_total_relation_size(relid)) AS size, last_autovacuum, last_autoanalyze
        FROM pg_stat_user_tables ORDER BY pg_total_relation_size(relid) DESC LIMIT 60""",
    "migration": "SELECT version_num FROM alembic_version",
    "journeys": "SELECT status, count(*), min(accepted_at) AS oldest, max(accepted_at) AS newest FROM journeys GROUP BY 1",
    "steps": """SELECT name AS step, status, count(*), min(due_at) AS first_due_at FROM journey_steps
        WHERE status NOT IN ('succeeded', 'skipped') GROUP BY 1, 2 ORDER BY 1, 2""",
    "dead_letters": """SELECT step, error_code, status, count(*), min(opened_at) AS oldest, max(opened_at) AS newest,
        (array_agg(id ORDER BY opened_at DESC))[1:3] AS examples FROM dead_letters GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 100""",
    "failed_attempts": """SELECT step, outcome, error_code, count(*), max(finished_at) AS newest FROM step_attempts
        WHERE started_at > now() - interval '1 day' GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 100""",
    "agents": "SELECT id, name, provider, mode, enabled FROM agents ORDER BY name",
    "agent_calls": """SELECT agent_id, status, error_code, count(*), avg(duration_ms)::int AS mean_ms FROM agent_calls
        WHERE started_at > now() - interval '1 day' GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 100""",
    "workers": "SELECT * FROM worker_heartbeats ORDER BY seen_at DESC LIMIT 100",
}
PARTS = tuple(_PARTS)


def read_part(session: Session, part: str) -> list[dict[str, Any]]:
    """Return one of PARTS as rows; none holds texts of customers or secrets."""
    return [dict(row._mapping) for row in session.execute(text(_PARTS[part]))]
