"""What became of one run of a step over a set of journeys."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(slots=True)
class Outcome:
    """Journeys by what happened to them; those in none of the sets were not due or belong to another worker."""

    done: set[UUID] = field(default_factory=set)
    waiting: set[UUID] = field(default_factory=set)
    failed: set[UUID] = field(default_factory=set)
    errors: dict[UUID, str] = field(default_factory=dict)
    # Journeys whose next step became due without this one having succeeded.
    ready: set[UUID] = field(default_factory=set)

    @classmethod
    def merged(cls, outcomes: Iterable["Outcome"]) -> "Outcome":
        whole = cls()
        for one in outcomes:
            whole.add(one)
        return whole

    def of(self, journey_id: UUID) -> "Outcome":
        """Return the part that is about one journey."""
        one = {journey_id}
        errors = {journey_id: self.errors[journey_id]} if journey_id in self.errors else {}
        return Outcome(self.done & one, self.waiting & one, self.failed & one, errors, self.ready & one)

    def add(self, other: "Outcome") -> None:
        self.done |= other.done
        self.waiting |= other.waiting
        self.failed |= other.failed
        self.errors |= other.errors
        self.ready |= other.ready
