"""How long registrations gather for a message: not at all on a machine that keeps up, longer the less it does."""

# What a message takes a worker, roughly.
MESSAGE_SECONDS = 0.004
# For so many times as long as sending a message was held up by other work, registrations gather for the next one.
HELD_UP_TIMES = 20
GATHER_SECONDS_MAX = 0.3
# How much the quickest sending is forgotten with each message, so that a broker that moved away counts as load for a while only.
FORGETTING = 1.0001


class Pace:
    """One a process, for one thread at a time."""

    def __init__(self) -> None:
        self._quickest_seconds = float("inf")

    def gather_seconds(self, messages_waiting: int, sending_seconds: float) -> float:
        """Return how long to gather before the next message, after one that took so long to send.

        About as long as it would stand in the queue anyway. Workers take messages early, though, and where one machine does
        everything, processes stand in each other's way and not in a queue. Sending is a few milliseconds of the same work
        as all the rest: by how much it takes longer than the quickest ever seen, the distance to the broker included, the
        rest does, too. Fifty journeys in one message cost a tenth of fifty messages.
        """
        self._quickest_seconds = min(self._quickest_seconds * FORGETTING, sending_seconds)
        held_up_seconds = sending_seconds - self._quickest_seconds
        return min(max(messages_waiting * MESSAGE_SECONDS, held_up_seconds * HELD_UP_TIMES), GATHER_SECONDS_MAX)
