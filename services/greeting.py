"""The template that greets a customer in time, whatever became of the agent."""

from collections.abc import Callable, Collection
from uuid import UUID

from clients import fanout
from core import log_events, tracing
from core.database import journey_work
from core.logging import get_logger
from models import StepName
from queries import effects, events
from services import automation, journey_plan
from services.steps.conversation import create_conversation

log = get_logger(__name__)

# So many overdue greetings are written in one statement.
GREETINGS_AT_ONCE = 200

OnReady = Callable[[Collection[UUID]], None]


def greet_with_template(texts: dict[UUID, str], *, on_ready: OnReady, reason: str, skip_locked: bool = False) -> None:
    """Post these texts where no greeting was stored yet; `on_ready` hears whose notification became due. Idempotent.

    With `skip_locked` journeys that somebody else is at work on are left out, for whoever looks again.
    """
    with (
        tracing.span("greet with the template", texts, attributes={"reason": reason}),
        journey_work() as connection,
    ):
        greeted = effects.post_templates(
            connection,
            texts,
            next_step=StepName.NOTIFY_CONSULTANTS,
            sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
            skip_locked=skip_locked,
        )
        events.append_message_events(connection, [one.message_id for one in greeted])
    if greeted:
        fanout.announce()
    for one in greeted:
        log.warning(
            log_events.WELCOME_FALLBACK, journey_id=str(one.journey_id), message_id=str(one.message_id), reason=reason
        )
    ready = [one.journey_id for one in greeted if one.made_ready]
    if ready:
        on_ready(ready)


def greet_overdue(*, on_ready: OnReady) -> int:
    """Greet every customer whose template is due and return how many there were; opens missing conversations first.

    This is the deadline's keeper of last resort: it needs neither the broker nor any worker. Idempotent, any number at once.
    """
    settings = automation.current()
    with journey_work() as connection:
        overdue = effects.list_ungreeted(connection, most=GREETINGS_AT_ONCE)
    if not overdue:
        return 0
    homeless = [one.journey_id for one in overdue if not one.has_conversation]
    if homeless:
        create_conversation(homeless)
    texts = {one.journey_id: automation.template_for(one.username, one.locale, settings) for one in overdue}
    # One journey that hangs in somebody's transaction must not keep the others from being greeted.
    greet_with_template(texts, on_ready=on_ready, reason="deadline", skip_locked=True)
    return len(overdue)
