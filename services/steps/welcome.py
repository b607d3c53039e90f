"""The second step: the personal welcome, written by an agent, with the template there in time if the agent is not.

One run serves the journeys of one message: their agent calls go on side by side without a thread each, whatever has
come is finished together, and a lease is renewed while its call goes on.
"""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any
from uuid import UUID

from clients import fanout
from clients.agents import AgentAnswer
from core import log_events
from core.database import unit_of_work
from core.errors import AnmeiError, DatabaseUnavailableError
from core.faults import fault_point
from core.ids import new_id
from core.logging import get_logger
from models import StepName
from queries import agents as agent_queries
from queries import effects, events
from queries import steps as step_queries
from queries.agents import CallEnded
from queries.effects import Welcome
from queries.steps import Claim
from services import agents, automation, journey_plan, shutdown
from services.asking import Asking, Heard
from services.automation import AutomationSettings, LateAnswer, WelcomeStrategy
from services.greeting import OnReady, greet_with_template
from services.persist import persist
from services.steps.failing import is_retryable, next_retry_seconds, record_failures
from services.steps.outcome import Outcome
from services.worker_name import worker_name

log = get_logger(__name__)
STEP = StepName.GENERATE_WELCOME

# The handle outlives the longest call of an attempt, and not much more.
HANDLE_SECONDS = 600.0
# How long calls may go on after the process was asked to stop; then they are handed back.
STOP_GRACE_SECONDS = 4.0


def generate_welcome(journey_ids: Sequence[UUID], *, on_ready: OnReady) -> Outcome:
    """Write the welcomes of the journeys whose step is due; takes a lease on each, so a second delivery finds nothing.

    `on_ready` hears of journeys whose notification became due before this returns. Raises DatabaseUnavailableError.
    """
    token = new_id()
    settings = automation.current()
    known = agents.directory()
    with unit_of_work() as session:
        claims = step_queries.claim_steps(
            session,
            STEP,
            journey_ids,
            token=token,
            worker=worker_name(),
            lease_seconds=journey_plan.LEASE_SECONDS,
            handle_seconds=HANDLE_SECONDS,
        )
        if not claims:
            return Outcome()
        asking = Asking(claims, settings, agents.situation(session, known, settings.gateway))
    fault_point("after_claim")
    return _Writing(claims, token, asking, settings, on_ready).run()


class _Writing:
    """The calls of one run, from claim to finish."""

    def __init__(
        self, claims: Sequence[Claim], token: UUID, asking: Asking, settings: AutomationSettings, on_ready: OnReady
    ) -> None:
        now = time.monotonic()
        self._settings = settings
        self._claims = {claim.journey_id: claim for claim in claims}
        self._token = token
        self._on_ready = on_ready
        self._outcome = Outcome()
        self._asking = asking
        self._renew_at = now + journey_plan.LEASE_RENEW_SECONDS
        self._stop_at: float | None = None
        self._greet_at = {
            claim.journey_id: now + (claim.greet_in_seconds or 0)
            for claim in claims
            if not claim.greeted and self._settings.welcome_strategy is not WelcomeStrategy.AGENT_ONLY
        }

    def run(self) -> Outcome:
        if self._settings.welcome_strategy is WelcomeStrategy.TEMPLATE_ONLY:
            self._finish(
                [Welcome(one, self._template(one), "template", {"written_by": "template"}) for one in self._claims]
            )
            return self._outcome
        self._ask(dict.fromkeys(self._claims))
        while self._asking.calls:
            done, _ = wait(self._asking.calls, timeout=self._next_wake_seconds(), return_when=FIRST_COMPLETED)
            if done:
                fault_point("after_call")
                self._settle(done)
            self._greet_overdue()
            self._keep_leases()
            self._obey_shutdown()
        return self._outcome

    def _ask(self, errors: dict[UUID, AnmeiError | None]) -> None:
        """Call the next candidate of each journey; where none is left, its last error stands."""
        exhausted = self._asking.ask_next(errors)
        if exhausted:
            self._give_up({one: errors[one] or self._asking.why_nobody() for one in exhausted})

    def _settle(self, done: Collection[Future[AgentAnswer]]) -> None:
        """Finish what was answered, go on to the next candidate where it was not."""
        heard = self._asking.hear(done)
        welcomes = [self._welcome(one) for one in heard if one.error is None]
        self._finish(welcomes, [one.ended for one in heard])
        errors: dict[UUID, AnmeiError | None] = {
            one.call.journey_id: one.error for one in heard if one.error is not None
        }
        if errors:
            self._ask(errors)

    def _welcome(self, heard: Heard) -> Welcome:
        journey_id = heard.call.journey_id
        dropped = self._greeted(journey_id) and self._settings.late_answer is LateAnswer.DROP
        result: dict[str, Any] = {"written_by": "agent", "agent": heard.call.version.name, "dropped": dropped}
        if heard.answer is not None:
            result |= {"latency_ms": heard.answer.latency_ms, "tools": list(heard.answer.tools)}
        return Welcome(journey_id, None if dropped else heard.text, "agent", result)

    def _finish(self, welcomes: Sequence[Welcome], ended: Sequence[CallEnded] = ()) -> None:
        """Write effects and steps together; the answers are kept and the write repeated while the database is away."""
        if not welcomes and not ended:
            return
        stored = persist(lambda: self._store(welcomes, ended))
        fault_point("after_commit")
        for welcome in welcomes:
            self._forget(welcome.journey_id)
            if welcome.journey_id not in stored:
                log.warning(log_events.LEASE_LOST, journey_id=str(welcome.journey_id), step=STEP)
                continue
            self._outcome.done.add(welcome.journey_id)
            log.info(
                log_events.WELCOME_GENERATED,
                journey_id=str(welcome.journey_id),
                message_id=str(stored[welcome.journey_id]),
                written_by=welcome.source,
            )
        # The message's own successor follows when all its journeys are done; those that are done earlier need not wait.
        if stored and self._asking.calls:
            self._on_ready(list(stored))

    def _store(self, welcomes: Sequence[Welcome], ended: Sequence[CallEnded]) -> dict[UUID, UUID | None]:
        stored: dict[UUID, UUID | None] = {}
        with unit_of_work() as session:
            if ended:
                agent_queries.end_calls(session, ended)
            if welcomes:
                stored = effects.store_welcomes(
                    session,
                    welcomes,
                    step=STEP,
                    next_step=StepName.NOTIFY_CONSULTANTS,
                    token=self._token,
                    sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
                )
                events.append_message_events(session, [one for one in stored.values() if one is not None])
            fault_point("before_commit")
        if stored:
            fanout.announce()
        return stored

    def _give_up(self, errors: dict[UUID, Exception]) -> None:
        """No agent answered: greet with the template at once, and try again later where that may still be of use."""
        retried, final = dict(errors), {}
        if self._settings.welcome_strategy is WelcomeStrategy.AGENT_THEN_TEMPLATE:
            self._greet(list(errors), reason="agent_failed")
            final = {one: error for one, error in errors.items() if not self._worth_retrying(one, error)}
            retried = {one: error for one, error in errors.items() if one not in final}
        if final:
            noted = [
                (one, {"written_by": "template", "fallback": getattr(error, "code", "")})
                for one, error in final.items()
            ]
            self._finish([Welcome(one, None, "template", result) for one, result in noted])
        if retried:
            self._outcome.add(persist(lambda: self._fail(retried)))
            for journey_id in retried:
                self._forget(journey_id)

    def _worth_retrying(self, journey_id: UUID, error: Exception) -> bool:
        failures = self._claims[journey_id].failures
        left = next_retry_seconds(self._settings.retry, failures, chance=0)
        useful = self._settings.late_answer is LateAnswer.APPEND
        return useful and left is not None and is_retryable(error, failures)

    def _fail(self, errors: dict[UUID, Exception]) -> Outcome:
        outcome = record_failures(STEP, errors, token=self._token, let_go=StepName.NOTIFY_CONSULTANTS)
        if outcome.ready:
            self._on_ready(outcome.ready)
        return outcome

    def _greet_overdue(self) -> None:
        now = time.monotonic()
        overdue = [one for one, at in self._greet_at.items() if at <= now]
        if not overdue:
            return
        self._greet(overdue, reason="deadline")
        if self._settings.late_answer is LateAnswer.DROP:
            self._hang_up(overdue)
            result = {"written_by": "template", "fallback": "DEADLINE"}
            self._finish([Welcome(one, None, "template", result) for one in overdue])

    def _greet(self, journey_ids: Collection[UUID], *, reason: str) -> None:
        texts = {one: self._template(one) for one in journey_ids if not self._greeted(one)}
        if texts:
            persist(lambda: greet_with_template(texts, on_ready=self._on_ready, reason=reason))
        for journey_id in texts:
            self._greet_at.pop(journey_id, None)

    def _keep_leases(self) -> None:
        """Renew what is still being written; what somebody else took over in the meantime is let go."""
        if time.monotonic() < self._renew_at or not self._asking.calls:
            return
        self._renew_at = time.monotonic() + journey_plan.LEASE_RENEW_SECONDS
        held = self._asking.journeys()
        try:
            with unit_of_work() as session:
                kept = step_queries.renew_leases(
                    session, STEP, held, token=self._token, lease_seconds=journey_plan.LEASE_SECONDS
                )
        except DatabaseUnavailableError:
            # Nobody else can take them over while the database is away; the next turn asks again.
            return
        for journey_id in set(held) - kept:
            log.warning(log_events.LEASE_LOST, journey_id=str(journey_id), step=STEP)
            self._hang_up([journey_id])
            self._forget(journey_id)

    def _obey_shutdown(self) -> None:
        if not self._asking.calls or not shutdown.stopping.is_set():
            return
        self._stop_at = self._stop_at or time.monotonic() + STOP_GRACE_SECONDS
        if time.monotonic() < self._stop_at:
            return
        held = self._asking.journeys()
        self._hang_up(held)
        with unit_of_work() as session:
            step_queries.hand_back(session, STEP, held, token=self._token)

    def _hang_up(self, journey_ids: Collection[UUID]) -> None:
        ended = self._asking.hang_up(journey_ids)
        if ended:
            persist(lambda: self._store((), ended))

    def _next_wake_seconds(self) -> float:
        wakes = [self._renew_at, *self._greet_at.values()]
        if shutdown.stopping.is_set():
            wakes.append(time.monotonic() + 0.2)
        # A stop is noticed within a second.
        return max(0.0, min(min(wakes) - time.monotonic(), 1.0))

    def _forget(self, journey_id: UUID) -> None:
        self._greet_at.pop(journey_id, None)

    def _greeted(self, journey_id: UUID) -> bool:
        return journey_id not in self._greet_at

    def _template(self, journey_id: UUID) -> str:
        claim = self._claims[journey_id]
        name, locale = claim.payload.get("username", claim.username), claim.payload.get("locale", claim.locale)
        return automation.template_for(name, locale, self._settings)
