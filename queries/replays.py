"""Bulk replays of dead letters, found again by their audit entries, and how far each is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

REPLAY_MANY = "dead_letter.replay_many"
REPLAY_SUBJECT = "dead_letters"


@dataclass(frozen=True, slots=True)
class Replay:
    """One bulk replay and where the steps it took stand now; the numbers add up to `total`."""

    id: int
    started_at: datetime
    started_by: str
    per_second: float
    filter: dict[str, str]
    total: int
    # Their turn has not come yet.
    waiting: int
    running: int
    succeeded: int
    # Failed for good again.
    failed: int
    cancelled: int

    @property
    def done(self) -> int:
        """How many came to an end, whichever."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def is_done(self) -> bool:
        return self.done == self.total


# The letters lie between the first and the last that were taken and were closed by the transaction that wrote the entry.
# Releases before this one did not note those two, so theirs are looked for everywhere.
_REPLAYS = """
SELECT a.id, a.at AS started_at, a.actor AS started_by, (a.after ->> 'per_second')::float8 AS per_second,
       coalesce(a.after -> 'filter', '{}') AS filter, p.*
FROM audit_log a CROSS JOIN LATERAL (
    SELECT count(*) AS total,
           count(*) FILTER (WHERE place = 'waiting') AS waiting,
           count(*) FILTER (WHERE place = 'running') AS running,
           count(*) FILTER (WHERE place = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE place = 'failed') AS failed,
           count(*) FILTER (WHERE place = 'cancelled') AS cancelled
    FROM (
        SELECT CASE WHEN s.status = 'succeeded' THEN 'succeeded'
                    WHEN j.status = 'cancelled' THEN 'cancelled'
                    WHEN s.status = 'skipped' THEN 'succeeded'
                    WHEN s.status = 'failed' THEN 'failed'
                    WHEN s.status = 'pending' AND s.due_at > now() THEN 'waiting'
                    ELSE 'running' END AS place
        FROM dead_letters d
        JOIN journeys j ON j.id = d.journey_id
        JOIN journey_steps s ON s.journey_id = d.journey_id AND s.name = d.step
        WHERE d.id BETWEEN coalesce((a.after ->> 'first')::uuid, '00000000-0000-0000-0000-000000000000')
                       AND coalesce((a.after ->> 'last')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
          AND d.status = 'replayed' AND d.closed_at = a.at
    ) placed
) p
"""
_ONE = text(f"{_REPLAYS} WHERE a.id = :id AND a.action = :action")
_RECENT = text(f"""{_REPLAYS}
WHERE a.subject = :subject AND a.action = :action AND a.at > now() - make_interval(hours => :hours) AND p.total > 0
ORDER BY a.id DESC LIMIT :most""")


def find_replay(session: Session, replay_id: int) -> Replay | None:
    """Return the bulk replay with this number, if there is one."""
    row = session.execute(_ONE, {"id": replay_id, "action": REPLAY_MANY}).one_or_none()
    return _replay(row) if row is not None else None


def list_replays(session: Session, *, hours: int, most: int) -> list[Replay]:
    """Return the bulk replays of the last hours that took any, newest first."""
    given = {"subject": REPLAY_SUBJECT, "action": REPLAY_MANY, "hours": hours, "most": most}
    return [_replay(row) for row in session.execute(_RECENT, given)]


def _replay(row: Row[Any]) -> Replay:
    return Replay(**row._mapping)
