"""The second step: the personal welcome, written by an agent, with the template there in time if the agent is not."""

from collections.abc import Sequence
from uuid import UUID

from services.steps import desk
from services.steps.errand import OnReady
from services.steps.outcome import Outcome


def generate_welcome(journey_ids: Sequence[UUID], *, on_ready: OnReady) -> Outcome:
    """Write the welcomes of the journeys whose step is due; takes a lease on each, so a second delivery finds nothing.

    `on_ready` hears, on the caller's thread, of journeys whose notification became due before this returns. Raises
    DatabaseUnavailableError.
    """
    return desk.current().submit(journey_ids).wait(on_ready)
