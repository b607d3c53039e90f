"""Taking journeys whose welcome is due: a lease on each, and the record of the calls about to be made, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core import tracing
from core.database import journey_work
from core.errors import DatabaseUnavailableError
from core.faults import fault_point
from core.ids import new_id
from models import StepName
from queries import steps as step_queries
from queries.steps import Claim
from services import agents, asking, automation, journey_plan
from services.asking import Asking, Plan
from services.automation import AutomationSettings, LateAnswer, WelcomeStrategy
from services.persist import together_or_alone
from services.steps.errand import Errand
from services.worker_name import worker_name

# The handle outlives the longest call of an attempt, and not much more.
HANDLE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction claimed, under one token, with the calls it recorded."""

    token: UUID
    errand_of: Mapping[UUID, Errand]
    claims: Sequence[Claim]
    plan: Plan | None


def claim_all(portions: Mapping[Errand, Sequence[UUID]]) -> tuple[list[Batch], list[tuple[Errand, Exception]]]:
    """Claim in one transaction, or one an errand where that is refused; return what was, and the errands that were not."""
    batches: list[Batch] = []

    def claim(errands: Sequence[Errand]) -> None:
        batches.append(_claim({one: errand for errand in reversed(errands) for one in portions[errand]}))

    errands = list(portions)
    try:
        return batches, together_or_alone(errands, claim)
    except DatabaseUnavailableError as error:
        # Only these hear of it: calls that are open go on, and what they come to is written when it can be.
        claimed = {errand for batch in batches for errand in batch.errand_of.values()}
        return batches, [(errand, error) for errand in errands if errand not in claimed]


def _claim(errand_of: Mapping[UUID, Errand]) -> Batch:
    token = new_id()
    settings, known = automation.current(), agents.directory()
    plan: Plan | None = None
    with tracing.span("claim welcomes", errand_of), journey_work() as connection:
        claims = step_queries.claim_steps(
            connection,
            StepName.GENERATE_WELCOME,
            list(errand_of),
            token=token,
            worker=worker_name(),
            lease_seconds=journey_plan.LEASE_SECONDS,
            handle_seconds=HANDLE_SECONDS,
        )
        asked = [claim for claim in claims if is_worth_asking(claim, settings)]
        if asked:
            plan = Asking.plan(asked, agents.situation(connection, known, settings.gateway), settings)
            asking.record(connection, plan.calls)
    fault_point("after_claim")
    return Batch(token, errand_of, claims, plan)


def is_worth_asking(claim: Claim, settings: AutomationSettings) -> bool:
    """Tell whether an agent's answer could still be shown: not where templates are all there is, or it would be dropped."""
    if settings.welcome_strategy is WelcomeStrategy.TEMPLATE_ONLY:
        return False
    is_late = claim.greeted or (claim.greet_in_seconds is not None and claim.greet_in_seconds <= 0)
    drops = settings.welcome_strategy is WelcomeStrategy.AGENT_THEN_TEMPLATE and settings.late_answer is LateAnswer.DROP
    return not (is_late and drops)
