"""The journeys one message brought, between the task that waits for them and the desk that works on them."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from uuid import UUID

from queries.agents import CallEnded
from queries.effects import Welcome
from queries.steps import Claim
from services.steps.outcome import Outcome

OnReady = Callable[[Collection[UUID]], None]


class Errand:
    """Filled and closed by the desk's thread, waited for by one other."""

    def __init__(self, journey_ids: Sequence[UUID]) -> None:
        # Not taken yet: a message may hold more journeys than there is room for.
        self.left = deque(journey_ids)
        self.outcome = Outcome()
        # Claimed and not over yet.
        self.open: set[UUID] = set()
        # Done while others of the errand are not, and not told of so far; since when, by the monotonic clock.
        self.early: set[UUID] = set()
        self.early_since: float | None = None
        self._closed = False
        self._news: SimpleQueue[Collection[UUID] | Exception | None] = SimpleQueue()

    def wait(self, on_ready: OnReady) -> Outcome:
        """Return what became of the journeys, or raise what went wrong; `on_ready` is called from here, on the caller's thread."""
        while (news := self._news.get()) is not None:
            if isinstance(news, Exception):
                raise news
            on_ready(news)
        return self.outcome

    def take(self, most: int) -> list[UUID]:
        """Return the next journeys to claim, at most so many."""
        return [self.left.popleft() for _ in range(min(most, len(self.left)))]

    def tell_ready(self, journey_ids: Collection[UUID]) -> None:
        """Have the caller hear of journeys whose next step became due."""
        self._news.put(journey_ids)

    def tell_early(self) -> None:
        """Have the caller hear of the journeys that are done before the others."""
        self.tell_ready(self.early)
        self.early, self.early_since = set(), None

    def close_if_over(self) -> None:
        """Let the caller go once nothing is open and nothing left to take."""
        if not self.open and not self.left:
            self.close(None)

    def close_unless_open(self, error: Exception) -> None:
        """Let the caller go with the error, unless journeys of the errand were claimed, whose end it then waits for."""
        if not self.open:
            self.close(error)

    def close(self, error: Exception | None) -> None:
        """Let the caller go, with the outcome or an error; only the first time counts."""
        if not self._closed:
            self._closed = True
            self.left.clear()
            self._news.put(error)


@dataclass(slots=True)
class InHand:
    """One journey under a lease of ours."""

    claim: Claim
    token: UUID
    errand: Errand
    greeted: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """What is written down of one journey at once: the end of a call, the end of the step, or both."""

    welcome: Welcome | None = None
    ended: CallEnded | None = None
