"""What happens to journeys whose welcome is being written: asked for, greeted in time, finished, failed, or handed back."""

import heapq
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any
from uuid import UUID

from clients import fanout
from clients.agents import AgentAnswer
from core import log_events, tracing
from core.database import journey_work
from core.errors import DatabaseUnavailableError
from core.faults import fault_point
from core.logging import get_logger
from models import StepName
from queries import agents as agent_queries
from queries import effects, events
from queries import steps as step_queries
from queries.effects import Welcome
from queries.steps import Claim
from services import automation, journey_plan, shutdown
from services.asking import Asking, Heard
from services.automation import LateAnswer, WelcomeStrategy
from services.greeting import greet_with_template
from services.persist import persist, together_or_alone
from services.steps.claiming import Batch, claim_all
from services.steps.errand import Errand, Finish, InHand
from services.steps.failing import is_retryable, next_retry_seconds, record_failures
from services.steps.outcome import Outcome

log = get_logger(__name__)
STEP = StepName.GENERATE_WELCOME

# How long calls may go on after the process was asked to stop; then they are handed back.
STOP_GRACE_SECONDS = 4.0
# A turn claims no more than about this many journeys, so that answers do not wait long behind claims.
CLAIM_AT_ONCE = 200
# Journeys that are done wait this long for the others of their errand, whose end sends one message for all of them.
EARLY_SECONDS = 0.2
# A stop, and whatever else nobody tells of, is noticed within this long.
LOOK_SECONDS = 1.0
LOOK_SECONDS_STOPPING = 0.2


class Writing:
    """The journeys in hand. For one thread; `on_answer` is called, from others, with each call that ended."""

    def __init__(self, on_answer: Callable[[Future[AgentAnswer]], None]) -> None:
        self._held: dict[UUID, InHand] = {}
        self._asking = Asking(on_answer)
        self._renew_at = 0.0
        self._stop_at: float | None = None
        # When whose template is due, by the monotonic clock; entries of journeys that are over are passed over.
        self._greetings: list[tuple[float, UUID]] = []
        self._early: set[Errand] = set()
        self._taking: Collection[Errand] = ()

    def room(self) -> int:
        """Return how many more journeys can be taken now; what does not fit waits unclaimed, and is greeted in time anyway."""
        asks_nobody = automation.current().welcome_strategy is WelcomeStrategy.TEMPLATE_ONLY
        if asks_nobody or self._is_stopped():
            return CLAIM_AT_ONCE
        return min(self._asking.room(), CLAIM_AT_ONCE)

    def take(self, portions: Mapping[Errand, Sequence[UUID]]) -> None:
        """Claim what is due of these journeys and ask for their welcomes; what stopped already claims nothing."""
        if not portions:
            return
        self._taking = portions.keys()
        if not self._is_stopped():
            batches, refused = claim_all(portions)
            for batch in batches:
                self._begin(batch)
            for errand, error in refused:
                errand.close_unless_open(error)
        self._taking = ()
        for errand in portions:
            errand.close_if_over()

    def settle(self, answered: Collection[Future[AgentAnswer]]) -> None:
        """Finish what was answered, go on to the next candidate where it was not."""
        if not answered:
            return
        fault_point("after_call")
        heard = self._asking.hear(answered)
        self._finish([Finish(self._welcome(one) if one.error is None else None, one.ended) for one in heard])
        self._ask_next(
            {
                one.call.journey_id: one.error
                for one in heard
                if one.error is not None and one.call.journey_id in self._held
            }
        )

    def look(self) -> None:
        """Do what is due by the clock: templates, leases, early news, a stop."""
        if not self._held:
            return
        self._greet_overdue()
        self._keep_leases()
        self._obey_shutdown()
        now = time.monotonic()
        for errand in [one for one in self._early if now >= (one.early_since or 0) + EARLY_SECONDS]:
            self._early.discard(errand)
            errand.tell_early()

    def next_look_seconds(self) -> float | None:
        """Return in how many seconds to look at the latest, None when there is nothing to look for."""
        if not self._held:
            return None
        wakes = [self._renew_at, *(one.early_since + EARLY_SECONDS for one in self._early if one.early_since)]
        if self._greetings:
            wakes.append(self._greetings[0][0])
        most = LOOK_SECONDS_STOPPING if shutdown.stopping.is_set() else LOOK_SECONDS
        return max(0.0, min(min(wakes) - time.monotonic(), most))

    def abandon(self, error: Exception) -> None:
        """Let everything go after a fault: calls are stopped, tasks raise, leases run out."""
        self._asking.drop_all()
        errands = {one.errand for one in self._held.values()} | set(self._taking)
        self._held.clear()
        self._greetings.clear()
        self._early.clear()
        for errand in errands:
            errand.close(error)

    def _begin(self, batch: Batch) -> None:
        self._hold(batch)
        asked: Collection[UUID] = batch.plan.asked if batch.plan is not None else ()
        by_template = [claim.journey_id for claim in batch.claims if claim.journey_id not in asked]
        if by_template:
            self._end_by_template(by_template)
        if batch.plan is not None:
            self._give_up(self._asking.begin(batch.plan))

    def _end_by_template(self, journey_ids: Sequence[UUID]) -> None:
        """Finish journeys for which no agent is asked: by setting, or because an answer would be too late to be shown."""
        if automation.current().welcome_strategy is WelcomeStrategy.TEMPLATE_ONLY:
            written = {"written_by": "template"}
            self._finish(
                [Finish(self._ending(one, written, self._template(self._held[one].claim))) for one in journey_ids]
            )
            return
        self._greet(journey_ids, reason="deadline")
        late = {"written_by": "template", "fallback": "DEADLINE"}
        self._finish([Finish(self._ending(one, late)) for one in journey_ids])

    def _hold(self, batch: Batch) -> None:
        now = time.monotonic()
        if not self._held:
            self._renew_at = now + journey_plan.LEASE_RENEW_SECONDS
        # A lease of our own that ran out: the call goes on, and nobody would hear it.
        self._lose([claim.journey_id for claim in batch.claims if claim.journey_id in self._held])
        settings = automation.current()
        has_template = settings.welcome_strategy is not WelcomeStrategy.AGENT_ONLY
        for claim in batch.claims:
            one = InHand(claim, batch.token, batch.errand_of[claim.journey_id], claim.greeted)
            one.errand.open.add(claim.journey_id)
            self._held[claim.journey_id] = one
            if has_template and not claim.greeted:
                # Accepted while no template was ever due: it gets what a new one gets.
                seconds = claim.greet_in_seconds
                if seconds is None:
                    seconds = journey_plan.template_seconds(settings.welcome_deadline_ms)
                heapq.heappush(self._greetings, (now + seconds, claim.journey_id))

    def _ask_next(self, errors: Mapping[UUID, Exception]) -> None:
        """Call the next candidate of each journey; where none is left, its last error stands."""
        self._give_up({one: errors[one] for one in self._asking.ask_next(errors)})

    def _welcome(self, heard: Heard) -> Welcome | None:
        one = self._held.get(heard.call.journey_id)
        if one is None:
            return None
        dropped = one.greeted and automation.current().late_answer is LateAnswer.DROP
        result: dict[str, Any] = {"written_by": "agent", "agent": heard.call.version.name, "dropped": dropped}
        if heard.answer is not None:
            result |= {"latency_ms": heard.answer.latency_ms, "tools": list(heard.answer.tools)}
        return Welcome(one.claim.journey_id, one.token, None if dropped else heard.text, "agent", result)

    def _ending(self, journey_id: UUID, result: dict[str, Any], text: str | None = None) -> Welcome:
        return Welcome(journey_id, self._held[journey_id].token, text, "template", result)

    def _finish(self, finishes: Sequence[Finish]) -> None:
        """Write effects and steps together; the answers are kept and the write repeated while the database is away."""
        stored: dict[UUID, UUID | None] = {}
        refused = together_or_alone(finishes, lambda some: stored.update(persist(lambda: self._store(some))))
        fault_point("after_commit")
        errors = {finish.welcome.journey_id: error for finish, error in refused if finish.welcome is not None}
        for finish in finishes:
            welcome = finish.welcome
            if welcome is None or welcome.journey_id in errors:
                continue
            if welcome.journey_id not in stored:
                self._lose([welcome.journey_id])
                continue
            log.info(
                log_events.WELCOME_GENERATED,
                journey_id=str(welcome.journey_id),
                message_id=str(stored[welcome.journey_id]),
                written_by=welcome.source,
            )
        self._note_done(stored)
        for finish, error in refused:
            log.error(
                log_events.WRITE_REFUSED, call_id=str(finish.ended and finish.ended.call_id), error=str(error)[:300]
            )
        if errors:
            self._fail(errors)

    def _store(self, finishes: Sequence[Finish]) -> dict[UUID, UUID | None]:
        ended = [one.ended for one in finishes if one.ended is not None]
        welcomes = [one.welcome for one in finishes if one.welcome is not None]
        stored: dict[UUID, UUID | None] = {}
        with (
            tracing.span("store welcomes", [one.journey_id for one in welcomes]),
            journey_work() as connection,
        ):
            # Journeys are locked before their calls, as everywhere.
            if welcomes:
                stored = effects.store_welcomes(
                    connection,
                    welcomes,
                    step=STEP,
                    next_step=StepName.NOTIFY_CONSULTANTS,
                    sweep_seconds=journey_plan.SWEEP_FIRST_SECONDS,
                )
                events.append_message_events(connection, [one for one in stored.values() if one is not None])
            if ended:
                agent_queries.end_calls(connection, ended)
            fault_point("before_commit")
        if stored:
            fanout.announce()
        return stored

    def _note_done(self, journey_ids: Iterable[UUID]) -> None:
        now = time.monotonic()
        for journey_id in journey_ids:
            errand = self._held[journey_id].errand
            errand.outcome.done.add(journey_id)
            errand.early.add(journey_id)
            errand.early_since = errand.early_since or now
            self._early.add(errand)
            self._let_go(journey_id)

    def _let_go(self, journey_id: UUID) -> None:
        """The journey is no longer in our hands; its errand ends with its last one."""
        one = self._held.pop(journey_id, None)
        if one is None:
            return
        self._asking.forget(journey_id)
        one.errand.open.discard(journey_id)
        if not one.errand.open and not one.errand.left:
            # The end of the errand tells of them all.
            self._early.discard(one.errand)
            if one.errand not in self._taking:
                one.errand.close(None)

    def _lose(self, journey_ids: Collection[UUID]) -> None:
        """Somebody else has these journeys now: stop their calls and forget them."""
        for journey_id in journey_ids:
            log.warning(log_events.LEASE_LOST, journey_id=str(journey_id), step=STEP)
        self._hang_up(journey_ids)
        for journey_id in journey_ids:
            self._let_go(journey_id)

    def _give_up(self, errors: Mapping[UUID, Exception]) -> None:
        """No agent answered: greet with the template at once, and try again later where that may still be of use."""
        if not errors:
            return
        retried, final = dict(errors), {}
        if automation.current().welcome_strategy is not WelcomeStrategy.AGENT_ONLY:
            self._greet(errors, reason="agent_failed")
            final = {one: error for one, error in errors.items() if not self._worth_retrying(one, error)}
            retried = {one: error for one, error in errors.items() if one not in final}
        if final:
            self._finish(
                [
                    Finish(self._ending(one, {"written_by": "template", "fallback": getattr(error, "code", "")}))
                    for one, error in final.items()
                ]
            )
        if retried:
            self._fail(retried)

    def _worth_retrying(self, journey_id: UUID, error: Exception) -> bool:
        settings = automation.current()
        failures = self._held[journey_id].claim.failures
        left = next_retry_seconds(settings.retry, failures, chance=0)
        asks = settings.welcome_strategy is not WelcomeStrategy.TEMPLATE_ONLY
        useful = asks and settings.late_answer is LateAnswer.APPEND
        return useful and left is not None and is_retryable(error, failures)

    def _fail(self, errors: Mapping[UUID, Exception]) -> None:
        by_token: dict[UUID, dict[UUID, Exception]] = {}
        for journey_id, error in errors.items():
            by_token.setdefault(self._held[journey_id].token, {})[journey_id] = error
        for token, some in by_token.items():
            outcome = Outcome()
            # Refused even alone: nothing is recorded, the lease runs out, and the sweep sends the journey again.
            refused = together_or_alone(list(some.items()), partial(self._record, token, outcome))
            for (journey_id, _), error in refused:
                log.error(log_events.WRITE_REFUSED, journey_id=str(journey_id), error=str(error)[:300])
            self._note_failed(some, outcome)

    @staticmethod
    def _record(token: UUID, outcome: Outcome, errors: Sequence[tuple[UUID, Exception]]) -> None:
        write = partial(record_failures, STEP, dict(errors), token=token, let_go=StepName.NOTIFY_CONSULTANTS)
        outcome.add(persist(write))

    def _note_failed(self, journey_ids: Collection[UUID], outcome: Outcome) -> None:
        if outcome.ready:
            self._tell_ready(outcome.ready)
        for journey_id in journey_ids:
            self._held[journey_id].errand.outcome.add(outcome.of(journey_id))
            self._let_go(journey_id)

    def _tell_ready(self, journey_ids: Collection[UUID]) -> None:
        by_errand: dict[Errand, list[UUID]] = {}
        for journey_id in journey_ids:
            by_errand.setdefault(self._held[journey_id].errand, []).append(journey_id)
        for errand, some in by_errand.items():
            errand.tell_ready(some)

    def _greet_overdue(self) -> None:
        now = time.monotonic()
        overdue = set()
        while self._greetings and self._greetings[0][0] <= now:
            _, journey_id = heapq.heappop(self._greetings)
            if journey_id in self._held and not self._held[journey_id].greeted:
                overdue.add(journey_id)
        if not overdue:
            return
        self._greet(overdue, reason="deadline")
        if automation.current().late_answer is LateAnswer.DROP:
            self._hang_up(overdue)
            result = {"written_by": "template", "fallback": "DEADLINE"}
            self._finish([Finish(self._ending(one, result)) for one in overdue])

    def _greet(self, journey_ids: Iterable[UUID], *, reason: str) -> None:
        waiting = [one for one in journey_ids if not self._held[one].greeted]
        refused = together_or_alone(waiting, lambda some: persist(lambda: self._send_templates(some, reason)))
        for journey_id, error in refused:
            # The sweep keeps trying: it looks for customers whose greeting is overdue by itself.
            log.error(log_events.WRITE_REFUSED, journey_id=str(journey_id), error=str(error)[:300])
        for journey_id in waiting:
            self._held[journey_id].greeted = True

    def _send_templates(self, journey_ids: Sequence[UUID], reason: str) -> None:
        texts = {one: self._template(self._held[one].claim) for one in journey_ids}
        greet_with_template(texts, on_ready=self._tell_ready, reason=reason)

    def _keep_leases(self) -> None:
        """Renew what is still being written; what somebody else took over in the meantime is let go."""
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + journey_plan.LEASE_RENEW_SECONDS
        held = {journey_id: one.token for journey_id, one in self._held.items()}
        try:
            with journey_work() as connection:
                kept = step_queries.renew_leases(connection, STEP, held, lease_seconds=journey_plan.LEASE_SECONDS)
        except DatabaseUnavailableError:
            # Nobody else can take them over while the database is away; the next turn asks again.
            return
        self._lose(held.keys() - kept)

    def _obey_shutdown(self) -> None:
        if not self._is_stopped():
            return
        held = {journey_id: one.token for journey_id, one in self._held.items()}
        self._hang_up(held)
        with journey_work() as connection:
            step_queries.hand_back(connection, STEP, held)
        for journey_id in held:
            self._let_go(journey_id)

    def _is_stopped(self) -> bool:
        """Tell whether the process was asked to stop so long ago that nothing is held any more."""
        if not shutdown.stopping.is_set():
            self._stop_at = None
            return False
        self._stop_at = self._stop_at or time.monotonic() + STOP_GRACE_SECONDS
        return time.monotonic() >= self._stop_at

    def _hang_up(self, journey_ids: Collection[UUID]) -> None:
        ended = self._asking.hang_up(journey_ids)
        if ended:
            persist(lambda: self._store([Finish(ended=one) for one in ended]))

    @staticmethod
    def _template(claim: Claim) -> str:
        name, locale = claim.payload.get("username", claim.username), claim.payload.get("locale", claim.locale)
        return automation.template_for(name, locale, automation.current())
