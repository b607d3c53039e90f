"""Pruning: what is older than a moment, in the order it got old, with a mark of how far each kind has come."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from queries.holdings import Kind
from queries.persons import prune_kind

_EPOCH = datetime.fromtimestamp(0, UTC)
# Bits of an id below the millisecond it was made in.
_BELOW_MILLISECONDS = 80
# The mark's row is locked first, so of two runs at once the second goes on where the first stopped.
_LOCK_MARK = text("""
INSERT INTO retention_marks (kind, pruned_until) VALUES (:kind, '1970-01-01 00:00+00') ON CONFLICT (kind) DO UPDATE SET kind = excluded.kind
""")
# As many as the batch takes, and those that finished in the same instant as its last one.
_NEXT_JOURNEYS = text("""
WITH mark AS (SELECT pruned_until FROM retention_marks WHERE kind = :kind),
batch AS (
    SELECT j.finished_at FROM journeys j, mark
    WHERE j.finished_at > mark.pruned_until AND j.finished_at < :until ORDER BY j.finished_at LIMIT :most
)
SELECT j.id, j.finished_at FROM journeys j, mark
WHERE j.finished_at > mark.pruned_until AND j.finished_at <= (SELECT max(finished_at) FROM batch)
""")
# As many as the batch takes; ids begin with the millisecond they were made in (RFC 9562), so the key is an index by time.
_LAST_MESSAGE = text("""
WITH batch AS (SELECT id FROM messages WHERE id >= :first_id AND id < :until_id ORDER BY id LIMIT :most)
SELECT (SELECT id FROM batch ORDER BY id DESC LIMIT 1) AS id, (SELECT count(*) FROM batch) AS rows
""")
_MARK = text("SELECT pruned_until FROM retention_marks WHERE kind = :kind")
_MOVE_MARK = text("""
UPDATE retention_marks SET pruned_until = :until, rows_pruned = rows_pruned + :rows WHERE kind = :kind
""")
_CAUGHT_UP = text("UPDATE retention_marks SET caught_up_at = now() WHERE kind = :kind")
_MCP_PAYLOADS = text("""
WITH mark AS (SELECT pruned_until FROM retention_marks WHERE kind = :kind),
batch AS (
    SELECT c.created_at FROM mcp_call_logs c, mark
    WHERE c.created_at > mark.pruned_until AND c.created_at < :until ORDER BY c.created_at LIMIT :most
),
last AS (SELECT max(created_at) AS created_at, count(*) AS rows FROM batch),
pruned AS (
    UPDATE mcp_call_logs c SET request = NULL, response = NULL, error = CASE WHEN c.error IS NOT NULL THEN 'erased' END
    FROM mark, last
    WHERE c.created_at > mark.pruned_until AND c.created_at <= last.created_at
    RETURNING 1
)
SELECT last.created_at, last.rows, (SELECT count(*) FROM pruned) AS pruned FROM last
""")
# Deleted rows need no mark of how far it came; theirs counts them.
_RECEIPTS = text("""
WITH gone AS (
    DELETE FROM webhook_receipts WHERE webhook_id IN (
        SELECT webhook_id FROM webhook_receipts WHERE received_at < :until LIMIT :most)
    RETURNING 1
),
counted AS (
    UPDATE retention_marks SET rows_pruned = rows_pruned + (SELECT count(*) FROM gone) WHERE kind = :kind
)
SELECT count(*) FROM gone
""")
_LIST = text("""
SELECT kind, rows_pruned, extract(epoch FROM caught_up_at)::float8 AS caught_up_seconds FROM retention_marks ORDER BY kind
""")


def prune_journeys(session: Session, kind: Kind, until: datetime, *, most: int) -> tuple[int, bool]:
    """Prune this kind of data of the next journeys that finished before; return the rows, and whether there may be more.

    A journey that is still open is pruned when it has been finished for as long: it then comes after the mark.
    """
    session.execute(_LOCK_MARK, {"kind": kind})
    found = session.execute(_NEXT_JOURNEYS, {"kind": kind, "until": until, "most": most}).all()
    if not found:
        return 0, False
    journey_ids: list[UUID] = [row.id for row in found]
    rows = prune_kind(session, kind, {"journey_ids": journey_ids})
    session.execute(_MOVE_MARK, {"kind": kind, "until": max(row.finished_at for row in found), "rows": rows})
    return rows, len(found) >= most


def prune_messages(session: Session, kind: Kind, until: datetime, *, most: int) -> tuple[int, bool]:
    """Empty the next messages written before; return the rows, and whether there may be more."""
    session.execute(_LOCK_MARK, {"kind": kind})
    first = _first_millisecond(session.execute(_MARK, {"kind": kind}).scalar_one())
    batch = {"first_id": _first_id(first), "until_id": _first_id(_first_millisecond(until)), "most": most}
    last = session.execute(_LAST_MESSAGE, batch).one()
    if last.id is None:
        return 0, False
    # With all that were made in the same millisecond as the last one.
    following = (last.id.int >> _BELOW_MILLISECONDS) + 1
    rows = prune_kind(session, kind, {"first_id": batch["first_id"], "next_id": _first_id(following), "until": until})
    moved_to = _EPOCH + timedelta(milliseconds=following)
    session.execute(_MOVE_MARK, {"kind": kind, "until": moved_to, "rows": rows})
    return rows, last.rows >= most


def prune_mcp_payloads(session: Session, kind: str, until: datetime, *, most: int) -> tuple[int, bool]:
    """Empty what the next calls logged before were asked and answered; return the rows, and whether there may be more."""
    session.execute(_LOCK_MARK, {"kind": kind})
    row = session.execute(_MCP_PAYLOADS, {"kind": kind, "until": until, "most": most}).one()
    if row.created_at is None:
        return 0, False
    session.execute(_MOVE_MARK, {"kind": kind, "until": row.created_at, "rows": row.pruned})
    return int(row.pruned), row.rows >= most


def delete_receipts(session: Session, kind: str, until: datetime, *, most: int) -> int:
    """Delete some receipts of webhooks received before; return how many."""
    session.execute(_LOCK_MARK, {"kind": kind})
    return int(session.execute(_RECEIPTS, {"kind": kind, "until": until, "most": most}).scalar_one())


def _first_millisecond(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _first_id(millisecond: int) -> UUID:
    """Return what no id made from then on is below."""
    return UUID(int=millisecond << _BELOW_MILLISECONDS)


def note_caught_up(session: Session, kind: str) -> None:
    """Note that now nothing of this kind is older than the settings say. The kind has a mark: a batch was tried before."""
    session.execute(_CAUGHT_UP, {"kind": kind})


@dataclass(frozen=True, slots=True)
class Mark:
    """What pruning one kind came to: rows since the beginning, and when it last left nothing older, in Unix seconds."""

    kind: str
    rows_pruned: int
    caught_up_seconds: float | None


def list_marks(session: Session) -> list[Mark]:
    """Return the kinds that were ever pruned."""
    return [Mark(**row._mapping) for row in session.execute(_LIST)]
