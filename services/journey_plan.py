"""The plan of a journey as data: which steps in which order, on which queue, under which lease and sweep distances."""

from enum import StrEnum
from typing import NamedTuple

from models import JourneyKind, StepName


class Queue(StrEnum):
    """Queues by what they wait for: `agents` holds the slow outbound calls, so that nothing else stands behind them."""

    JOURNEYS = "journeys"
    AGENTS = "agents"
    NOTIFICATIONS = "notifications"
    MAINTENANCE = "maintenance"


class StepPlan(NamedTuple):
    name: StepName
    queue: Queue


PLANS: dict[JourneyKind, tuple[StepPlan, ...]] = {
    JourneyKind.REGISTRATION: (
        StepPlan(StepName.CREATE_CONVERSATION, Queue.JOURNEYS),
        StepPlan(StepName.GENERATE_WELCOME, Queue.AGENTS),
        StepPlan(StepName.NOTIFY_CONSULTANTS, Queue.NOTIFICATIONS),
    )
}

# A worker that dies is noticed after this long at the latest; one that lives renews at a third of it.
LEASE_SECONDS = 9.0
LEASE_RENEW_SECONDS = 3.0

# How long a message may take before the sweep sends another, first and at most; the distance doubles in between.
# The first is short because a lost message must not cost the customer's three seconds.
SWEEP_FIRST_SECONDS = 1.0
SWEEP_MAX_SECONDS = 30.0

# One message names at most this many journeys.
MESSAGE_MAX_JOURNEYS = 100
# Pushes, ratings and rungs wait for others' receivers, a few at a time: a message holds what is done within a lease.
MESSAGE_MAX_OUTBOUND = 50

# The template is sent this long before the deadline, so that it is stored, not merely begun, by then. On two cores under
# five times their load it was stored up to 280 ms after it was due.
TEMPLATE_RESERVE_MS = 400

# A step whose worker died this often is taken to kill its workers: it fails instead of killing another.
MAX_LOST_ATTEMPTS = 10


def template_seconds(deadline_ms: int) -> float:
    """Return how long after acceptance the template is due, for a greeting that is due within so many milliseconds."""
    return (deadline_ms - TEMPLATE_RESERVE_MS) / 1000


def steps_from(name: StepName, kind: JourneyKind = JourneyKind.REGISTRATION) -> tuple[StepPlan, ...]:
    """Return the named step's plan and those of the steps after it, in order."""
    plan = PLANS[kind]
    names = [step.name for step in plan]
    return plan[names.index(name) :]


def step_names(kind: JourneyKind = JourneyKind.REGISTRATION) -> tuple[StepName, ...]:
    return tuple(step.name for step in PLANS[kind])
