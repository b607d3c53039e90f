"""The intake's set statements: users, journeys and steps of many registrations in one."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import bindparam

from core.database import Statements

_ROWS = """
    SELECT * FROM jsonb_to_recordset(:rows) AS r(
        webhook_id text, external_id text, username text, email text, phone text, avatar text, roles jsonb,
        primary_role text, locale text, source text, interests jsonb, extra jsonb, registered_at timestamptz,
        user_id uuid, journey_id uuid, step_ids jsonb, handle text, skip_reason text)
"""

# Everything of a registration in one statement: a user already known, or a webhook-id already seen, inserts nothing.
# Each row's look-ups are limited subqueries, which can only go by the index: joined, they were planned for a hundred rows
# from the JSON, and read whole tables as long as those were small.
_INSERT = text(f"""
WITH r AS ({_ROWS}),
fresh AS (
    SELECT r.* FROM r
    LEFT JOIN LATERAL (SELECT true AS seen FROM webhook_receipts w WHERE w.webhook_id = r.webhook_id LIMIT 1) w ON true
    LEFT JOIN LATERAL (
        SELECT true AS erased FROM erased_users e WHERE e.external_hash = sha256(convert_to(r.external_id, 'UTF8')) LIMIT 1
    ) e ON true
    WHERE w.seen IS NULL
      -- Somebody who was erased does not come back with a repeat of their registration.
      AND e.erased IS NULL
),
made AS (
    INSERT INTO users (id, external_id, username, email, phone, avatar, roles, primary_role, locale, source,
                       interests, extra, registered_at)
    SELECT user_id, external_id, username, email, phone, avatar, roles, primary_role, locale, source,
           interests, extra, coalesce(registered_at, now())
    FROM fresh
    ON CONFLICT (external_id) DO NOTHING
    RETURNING id, external_id
),
-- A user who was imported without a journey gets one now. Looked for once, and not once for each row it is joined to.
owner AS MATERIALIZED (
    SELECT id, external_id FROM made
    UNION ALL
    SELECT u.id, f.external_id FROM fresh f
    CROSS JOIN LATERAL (SELECT u.id FROM users u WHERE u.external_id = f.external_id LIMIT 1) u
    LEFT JOIN LATERAL (SELECT true AS begun FROM journeys j WHERE j.user_id = u.id AND j.kind = :kind LIMIT 1) j ON true
    WHERE j.begun IS NULL
),
journey AS (
    INSERT INTO journeys (id, kind, user_id, status, reason, open_steps, settings_version, handle, greet_by_at, finished_at)
    SELECT f.journey_id, :kind, o.id,
           CASE WHEN f.skip_reason IS NULL THEN 'accepted' ELSE 'skipped' END, f.skip_reason,
           CASE WHEN f.skip_reason IS NULL THEN cardinality(CAST(:steps AS text[])) ELSE 0 END,
           :settings_version, f.handle,
           CASE WHEN f.skip_reason IS NULL THEN now() + make_interval(secs => CAST(:greet_by_seconds AS float8)) END,
           CASE WHEN f.skip_reason IS NULL THEN NULL ELSE now() END
    FROM fresh f JOIN owner o USING (external_id)
    ON CONFLICT (user_id, kind) DO NOTHING
    RETURNING id, status
),
step AS (
    INSERT INTO journey_steps (id, journey_id, name, position, due_at, sweep_at)
    SELECT CAST(f.step_ids ->> (s.position::int - 1) AS uuid), j.id, s.name, s.position,
           CASE WHEN s.position = 1 THEN now() END,
           CASE WHEN s.position = 1 THEN now() + make_interval(secs => CAST(:sweep_seconds AS float8)) END
    FROM journey j
    JOIN fresh f ON f.journey_id = j.id
    CROSS JOIN unnest(CAST(:steps AS text[])) WITH ORDINALITY AS s(name, position)
    WHERE j.status = 'accepted'
),
receipt AS (
    INSERT INTO webhook_receipts (webhook_id, journey_id)
    SELECT f.webhook_id, j.id FROM journey j JOIN fresh f ON f.journey_id = j.id WHERE f.webhook_id IS NOT NULL
    ON CONFLICT (webhook_id) DO NOTHING
)
SELECT id FROM journey
""").bindparams(bindparam("rows", type_=JSONB))

# For those that inserted nothing: the journey that was first, by webhook-id or by user.
_RESOLVE = text(f"""
WITH r AS ({_ROWS}),
known AS (
    SELECT r.journey_id AS asked_id, r.webhook_id, w.journey_id AS by_webhook, j.id AS by_user, e.user_id IS NOT NULL AS erased
    FROM r
    LEFT JOIN webhook_receipts w ON w.webhook_id = r.webhook_id
    LEFT JOIN users u ON u.external_id = r.external_id
    LEFT JOIN erased_users e ON e.external_hash = sha256(convert_to(r.external_id, 'UTF8'))
    LEFT JOIN journeys j ON j.user_id = coalesce(u.id, e.user_id) AND j.kind = :kind
),
receipt AS (
    INSERT INTO webhook_receipts (webhook_id, journey_id)
    SELECT webhook_id, by_user FROM known
    WHERE webhook_id IS NOT NULL AND by_webhook IS NULL AND by_user IS NOT NULL AND NOT erased
    ON CONFLICT (webhook_id) DO NOTHING
)
SELECT asked_id, coalesce(by_webhook, by_user) AS journey_id FROM known
""").bindparams(bindparam("rows", type_=JSONB))


def insert_registrations(
    session: Statements,
    rows: list[dict[str, Any]],
    *,
    kind: str,
    steps: list[str],
    settings_version: int,
    greet_by_seconds: float | None,
    sweep_seconds: float,
) -> set[UUID]:
    """Insert users, journeys and steps; return the journeys made. Rows of known users or webhook-ids insert nothing."""
    made = session.execute(
        _INSERT,
        {
            "rows": rows,
            "kind": kind,
            "steps": steps,
            "settings_version": settings_version,
            "greet_by_seconds": greet_by_seconds,
            "sweep_seconds": sweep_seconds,
        },
    )
    return set(made.scalars())


def resolve_duplicates(session: Statements, rows: list[dict[str, Any]], *, kind: str) -> dict[UUID, UUID]:
    """Return the first journey for each row, keyed by the journey id it asked for; remember new webhook-ids of known users."""
    found = session.execute(_RESOLVE, {"rows": rows, "kind": kind})
    return {row.asked_id: row.journey_id for row in found if row.journey_id is not None}
