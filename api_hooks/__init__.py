"""The HTTP shell (webhook, REST, WebSockets) and the same intake for callers in this process."""

from typing import Any
from uuid import UUID


def on_user_registered(user_id: str, user_info: dict[str, Any]) -> UUID:
    """Start the automation for a user who registered in this process; return the journey's id.

    Idempotent: a user already known yields the first journey. Committed when it returns; the message that sets the work
    going is best effort, as the sweep finds the journey without it. Raises core.errors.InvalidInputError for wrong fields
    and DatabaseUnavailableError.
    """
    # Imported here so that `import api_hooks` asks for no configuration.
    import time

    from pydantic import ValidationError

    from core import tracing
    from core.errors import InvalidInputError
    from models import StepName
    from services import intake
    from services.intake import IntakeStatus
    from tasks.publish import publish_steps

    started_ns = time.time_ns()
    try:
        acceptance = intake.on_user_registered(user_id, user_info)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidInputError(problems) from None
    if acceptance.status is not IntakeStatus.DUPLICATE:
        tracing.root("on_user_registered", acceptance.journey_id, started_ns=started_ns)
    if acceptance.status is IntakeStatus.ACCEPTED:
        publish_steps(StepName.CREATE_CONVERSATION, [acceptance.journey_id])
    return acceptance.journey_id
