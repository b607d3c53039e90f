"""Asking agents for welcomes: each journey's candidates in turn, every call recorded, every answer guarded."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from clients import agents as agent_client
from clients import fanout
from clients.agents import AgentAnswer, AgentCode, AgentRequest
from core.database import journey_work
from core.errors import AgentPermanentError, AgentTransientError, AnmeiError, DatabaseUnavailableError
from core.faults import fault_point
from core.ids import new_id
from queries import agents as agent_queries
from queries.agents import CallBegun, CallEnded
from queries.events import customer_audience
from queries.steps import Claim
from services import agents, automation, circuits
from services.agents import Choice, KnownVersion, Situation
from services.automation import AutomationSettings
from services.gateway import guard, prompt
from services.gateway.breaker import UNCOUNTED_CODES
from services.gateway.decision import Gate, Strategy
from services.gateway.guard import Recipient
from services.gateway.preview import GuardedPreview
from services.gateway.prompt import Customer
from services.gateway.settings import GatewaySettings
from services.persist import persist, together_or_alone

CANCELLED = "CANCELLED"
STALE_SECONDS = 2.0
INTERRUPTED = AgentTransientError("the call was cut off in this process", code=AgentCode.INTERRUPTED)


class AnswerRefusedError(AgentPermanentError):
    """The guard refused the answer; the customer gets another's, or the template."""

    code = "ANSWER_REFUSED"


@dataclass(frozen=True, slots=True)
class Call:
    """One open call."""

    id: UUID
    claim: Claim
    version: KnownVersion
    is_probe: bool
    # The circuits that had anything to their discredit when this was decided.
    gates: Mapping[UUID, Gate]

    @property
    def journey_id(self) -> UUID:
        return self.claim.journey_id


@dataclass(frozen=True, slots=True)
class Heard:
    """What one call came to: a text a customer may see, or the error. `ended` is for the record."""

    call: Call
    text: str | None
    answer: AgentAnswer | None
    error: AnmeiError | None
    ended: CallEnded


@dataclass(slots=True)
class _Asked:
    """One journey, whom to ask for it next, and the situation that was decided in."""

    claim: Claim
    left: list[Choice]
    situation: Situation


@dataclass(frozen=True, slots=True)
class Plan:
    """First calls for journeys about to be claimed: to be recorded with the claim, and made once both are committed."""

    asked: Mapping[UUID, _Asked]
    calls: Sequence[Call]
    # Whom nobody can be asked for, and why.
    unasked: Mapping[UUID, Exception]
    situation: Situation


class Asking:
    """The open calls of a process. For one thread; `on_answer` is called, from others, with each call that ended."""

    def __init__(self, on_answer: Callable[["Future[AgentAnswer]"], None]) -> None:
        self._on_answer = on_answer
        self._asked: dict[UUID, _Asked] = {}
        self._calls: dict[Future[AgentAnswer], Call] = {}
        self._future_of: dict[UUID, Future[AgentAnswer]] = {}
        # What was last known of open calls and circuits, when that was, and how many of the calls were others'.
        self._situation: Situation | None = None
        self._looked_at = 0.0
        self._elsewhere = 0

    def room(self) -> int:
        """Return how many more calls all versions together may be given now.

        At least one while none is open here: asking is then the only way to learn that there is room again.
        """
        gates = self._situation.gates if self._situation is not None else {}
        useful = [one for one in agents.directory().in_use() if gates.get(one) is not Gate.OPEN]
        most = automation.current().gateway.max_concurrent_calls * max(1, len(useful))
        # What others had open some time ago says nothing any more; claiming looks again.
        elsewhere = self._elsewhere if time.monotonic() - self._looked_at < STALE_SECONDS else 0
        return max(most - elsewhere - len(self._calls), 0 if self._calls else 1)

    @staticmethod
    def plan(claims: Sequence[Claim], situation: Situation, settings: AutomationSettings) -> Plan:
        """Decide whom to ask for each of these journeys, and first."""
        strategy = Strategy(settings.welcome_strategy)
        asked = {
            claim.journey_id: _Asked(claim, situation.order(claim.user_id, strategy), situation) for claim in claims
        }
        calls, unasked = _choose(asked)
        return Plan(asked, calls, unasked, situation)

    def begin(self, plan: Plan) -> Mapping[UUID, Exception]:
        """Take on the plan's journeys and make its calls, which are on record; return those that cannot be asked, and why."""
        self._situation, self._looked_at = plan.situation, time.monotonic()
        self._elsewhere = max(0, sum(plan.situation.running.values()) - len(self._calls))
        self._asked.update(plan.asked)
        self._start(plan.calls)
        return plan.unasked

    def forget(self, journey_id: UUID) -> None:
        """The journey is over, or somebody else's; it has no open call any more."""
        self._asked.pop(journey_id, None)

    def ask_next(self, journey_ids: Collection[UUID]) -> dict[UUID, Exception]:
        """Call each journey's next candidate, recorded before it is called; return those that cannot be asked, and why."""
        calls, why = _choose({one: self._asked[one] for one in journey_ids})
        refused = together_or_alone(calls, lambda some: persist(lambda: _record_alone(some)))
        why |= {call.journey_id: error for call, error in refused}
        self._start([call for call in calls if call.journey_id not in why])
        return why

    def hear(self, answered: Collection["Future[AgentAnswer]"]) -> list[Heard]:
        """Take finished calls off the open ones and return what they came to; accounts for their circuits."""
        heard = [self._hear(call, future) for future in answered if (call := self._take(future)) is not None]
        self._report([(one.call, one.error.code if one.error else None) for one in heard])
        return heard

    def hang_up(self, journey_ids: Collection[UUID]) -> list[CallEnded]:
        """Cancel the calls of these journeys (the client tells the agent to stop) and return what to record of them."""
        futures = [self._future_of[one] for one in journey_ids if one in self._future_of]
        given_up = [call for future in futures if (call := self._take(future)) is not None]
        for future in futures:
            future.cancel()
        # A probe that was claimed has to be given back; giving up says nothing about the agent.
        self._report([(call, AgentCode.INTERRUPTED) for call in given_up])
        return [CallEnded(call.id, CANCELLED, "given up") for call in given_up]

    def drop_all(self) -> None:
        """Cancel everything and record nothing: the leases run out, and whoever claims the journeys then records it."""
        futures = list(self._calls)
        self._calls.clear()
        self._future_of.clear()
        self._asked.clear()
        for future in futures:
            future.cancel()

    def _take(self, future: "Future[AgentAnswer]") -> Call | None:
        call = self._calls.pop(future, None)
        if call is not None:
            del self._future_of[call.journey_id]
        return call

    def _start(self, calls: Sequence[Call]) -> None:
        if not calls:
            return
        fault_point("before_call")
        futures = agent_client.start_many([(self._request(one), self._preview(one.claim).take) for one in calls])
        for call, future in zip(calls, futures, strict=True):
            self._calls[future] = call
            self._future_of[call.journey_id] = future
            future.add_done_callback(self._on_answer)

    def _request(self, call: Call) -> AgentRequest:
        claim = call.claim
        written = prompt.build(self._customer(claim), **_instruction(call.version))
        return AgentRequest(
            target=call.version.target,
            inputs=written.inputs,
            query=written.query,
            # A fresh end-user for each welcome: agents keep conversations by user, and customers share none.
            user=claim.handle,
            trace_id=str(claim.journey_id),
        )

    def _hear(self, call: Call, future: "Future[AgentAnswer]") -> Heard:
        error = INTERRUPTED if future.cancelled() else future.exception()
        if error is not None:
            if not isinstance(error, AnmeiError):
                raise error
            return Heard(call, None, None, error, CallEnded(call.id, error.code, error.message))
        answer = future.result()
        settings = automation.current().gateway.guard
        verdict = guard.check(answer.text, self._recipient(call.claim), settings, moderated=answer.moderated)
        ended = CallEnded(
            call.id,
            task_id=answer.task_id,
            usage=dict(answer.usage),
            first_token_ms=answer.first_token_ms,
            provider_message_id=answer.message_id,
            refusal=None if verdict.accepted else f"{verdict.reason}: {verdict.detail}"[:500],
            refused_answer=None if verdict.accepted else answer.text[:4000].replace("\x00", ""),
        )
        if verdict.accepted:
            return Heard(call, verdict.text, answer, None, ended)
        return Heard(call, None, answer, AnswerRefusedError(f"the guard refused the answer: {verdict.reason}"), ended)

    def _report(self, ended: Sequence[tuple[Call, str | None]]) -> None:
        outcomes = [
            (call.version.key, call.version.agent_id, code) for call, code in ended if _says_something(call, code)
        ]
        if outcomes:
            persist(lambda: circuits.report(outcomes, automation.current().gateway.breaker))

    def _preview(self, claim: Claim) -> GuardedPreview:
        audience = customer_audience(claim.user_id)
        fields = {"conversation_id": str(claim.conversation_id), "journey_id": str(claim.journey_id)}

        def show(text: str) -> None:
            fanout.publish_frame(audience, "message_delta", {**fields, "text": text})

        return GuardedPreview(show, self._recipient(claim), automation.current().gateway.guard)

    @staticmethod
    def _customer(claim: Claim) -> Customer:
        changed = claim.payload
        return Customer(
            handle=claim.handle,
            username=changed.get("username", claim.username),
            locale=changed.get("locale", claim.locale),
            interests=changed.get("interests", claim.interests),
            source=claim.source,
        )

    @staticmethod
    def _recipient(claim: Claim) -> Recipient:
        locale = prompt.safe_locale(claim.payload.get("locale", claim.locale))
        return Recipient(locale, claim.payload.get("username", claim.username), email=claim.email, phone=claim.phone)


def _instruction(version: KnownVersion) -> dict[str, str]:
    return {"instruction": version.instruction} if version.instruction else {}


def record(connection: Connection, calls: Sequence[Call]) -> None:
    """Record calls, before they are made, in the caller's transaction."""
    if calls:
        agent_queries.begin_calls(
            connection,
            [
                CallBegun(call.id, call.journey_id, call.claim.attempt, call.version.agent_id, call.version.version_id)
                for call in calls
            ],
        )


def _says_something(call: Call, code: str | None) -> bool:
    """Tell whether the end of a call changes its circuit; one with nothing to its discredit has no row."""
    if code is None:
        return call.version.key in call.gates
    return call.is_probe or code not in UNCOUNTED_CODES


def _record_alone(calls: Sequence[Call]) -> None:
    with journey_work() as connection:
        record(connection, calls)


def _choose(asked: Mapping[UUID, _Asked]) -> tuple[list[Call], dict[UUID, Exception]]:
    """Return the next call of each journey, and why there is none where nobody is left to ask."""
    calls: list[Call] = []
    unasked: dict[UUID, Exception] = {}
    chooser = _Chooser(automation.current().gateway)
    for journey_id, one in asked.items():
        choice = chooser.next(one)
        if choice is None:
            unasked[journey_id] = _why_nobody(one.situation)
        else:
            calls.append(Call(new_id(), one.claim, choice.version, choice.is_probe, one.situation.gates))
    return calls, unasked


class _Chooser:
    """Goes through the candidates of a set, so that together they stay within what each version may be given."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._given: Counter[UUID] = Counter()
        # Half-open circuits that had no probe to spare: they are asked once a set, not once a journey.
        self._spent: set[UUID] = set()

    def next(self, asked: _Asked) -> Choice | None:
        while asked.left:
            choice = asked.left.pop(0)
            key = choice.version.key
            open_calls = asked.situation.running.get(key, 0) + self._given[key]
            if open_calls < self._settings.max_concurrent_calls and (not choice.is_probe or self._may_probe(choice)):
                self._given[key] += 1
                return choice
        return None

    def _may_probe(self, choice: Choice) -> bool:
        key = choice.version.key
        if key in self._spent:
            return False
        try:
            may = circuits.claim_probe(key, choice.version.agent_id, self._settings.breaker)
        except DatabaseUnavailableError:
            # Whoever comes next may ask; a journey is not held up for it.
            may = False
        if not may:
            self._spent.add(key)
        return may


def _why_nobody(situation: Situation) -> AnmeiError:
    """Return why a journey found nobody to ask: nobody there for good, or nobody free or sound at this moment."""
    if not situation.directory.known:
        return AgentPermanentError("no agent is enabled", code="NO_AGENT")
    return AgentTransientError("every agent is cut off or has all the calls it may have", code="NO_AGENT_FREE")
