"""How long registrations gather for the next turn: not at all on a machine that keeps up, longer the less it does."""

# How much the quickest turn is forgotten with each turn, so that a server that moved away counts as load for a while only.
FORGETTING = 1.0001


class Pace:
    """How far apart turns of one kind are kept. For one thread at a time.

    Workers take messages early, and where one machine does everything, processes stand in each other's way and not in a
    queue. A turn, be it a commit or a message sent, is a few milliseconds of the same work as all the rest: by how much it
    takes longer than the quickest ever seen, the distance to the server included, the rest does, too.
    """

    def __init__(self, *, held_up_times: float, most_seconds: float) -> None:
        self._held_up_times = held_up_times
        self._most_seconds = most_seconds
        self._quickest_seconds = float("inf")
        self._quickest_item_seconds = float("inf")

    def rest_seconds(self, turn_seconds: float, *, items: int = 1, least: float = 0.0) -> float:
        """Return how long the next turn is to be held back, after one of so many items: so many times what held it up.

        A turn of many takes longer than one of few, on any machine: what it takes by itself is the quickest turn there was,
        and for each further item the quickest that one ever took. At least `least`, and never more than the most.
        """
        self._quickest_seconds = min(self._quickest_seconds * FORGETTING, turn_seconds)
        self._quickest_item_seconds = min(self._quickest_item_seconds * FORGETTING, turn_seconds / items)
        by_itself_seconds = self._quickest_seconds + (items - 1) * self._quickest_item_seconds
        held_up_seconds = max(0.0, turn_seconds - by_itself_seconds)
        return min(max(least, held_up_seconds * self._held_up_times), self._most_seconds)
