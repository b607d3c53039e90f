"""How far bulk replays of dead letters are, read from the record: whoever looks, whenever, sees the same."""

from core.database import unit_of_work
from core.errors import NotFoundError
from queries import replays as queries
from queries.replays import Replay

# What the list of dead letters shows of them.
RECENT_HOURS = 24
RECENT_MOST = 5


def get(replay_id: int) -> Replay:
    """Return where the steps of a bulk replay stand now; raise NotFoundError."""
    with unit_of_work() as session:
        found = queries.find_replay(session, replay_id)
    if found is None:
        raise NotFoundError(f"no replay {replay_id}", code="REPLAY_NOT_FOUND")
    return found


def recent() -> list[Replay]:
    """Return the bulk replays of the last day, newest first, at most RECENT_MOST."""
    with unit_of_work() as session:
        return queries.list_replays(session, hours=RECENT_HOURS, most=RECENT_MOST)
