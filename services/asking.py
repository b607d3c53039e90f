"""Asking agents for welcomes: each journey's candidates in turn, every call recorded, every answer guarded."""

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from uuid import UUID

from clients import agents as agent_client
from clients import fanout
from clients.agents import AgentAnswer, AgentCode, AgentRequest
from core.database import unit_of_work
from core.errors import AgentPermanentError, AgentTransientError, AnmeiError
from core.faults import fault_point
from core.ids import new_id
from queries import agents as agent_queries
from queries.agents import CallBegun, CallEnded
from queries.events import customer_audience
from queries.steps import Claim
from services import circuits
from services.agents import Choice, KnownVersion, Situation
from services.automation import AutomationSettings
from services.gateway import guard, prompt
from services.gateway.decision import Strategy
from services.gateway.guard import Recipient
from services.gateway.preview import GuardedPreview
from services.gateway.prompt import Customer
from services.persist import persist

CANCELLED = "CANCELLED"


class AnswerRefusedError(AgentPermanentError):
    """The guard refused the answer; the customer gets another's, or the template."""

    code = "ANSWER_REFUSED"


@dataclass(frozen=True, slots=True)
class Call:
    """One open call."""

    id: UUID
    journey_id: UUID
    version: KnownVersion


@dataclass(frozen=True, slots=True)
class Heard:
    """What one call came to: a text a customer may see, or the error. `ended` is for the record."""

    call: Call
    text: str | None
    answer: AgentAnswer | None
    error: AnmeiError | None
    ended: CallEnded


class Asking:
    """The calls of one run over a set of claimed journeys. Not thread-safe; the calls themselves cost no threads."""

    def __init__(self, claims: Sequence[Claim], settings: AutomationSettings, situation: Situation) -> None:
        self._settings = settings
        self._claims = {claim.journey_id: claim for claim in claims}
        self._situation = situation
        strategy = Strategy(settings.welcome_strategy)
        self._left = {claim.journey_id: self._situation.order(claim.user_id, strategy) for claim in claims}
        self.calls: dict[Future[AgentAnswer], Call] = {}

    def ask_next(self, journey_ids: Collection[UUID]) -> set[UUID]:
        """Call each journey's next candidate, recorded before it is called; return the journeys that have none left."""
        chosen = {one: choice for one in journey_ids if (choice := self._next(one)) is not None}
        calls = [Call(new_id(), journey_id, choice.version) for journey_id, choice in chosen.items()]
        if calls:
            persist(lambda: self._begin(calls))
            fault_point("before_call")
        for call in calls:
            self.calls[self._start(call)] = call
        return set(journey_ids) - chosen.keys()

    def why_nobody(self) -> AnmeiError:
        """Return why a journey found nobody to ask: nobody there for good, or nobody free or sound at this moment."""
        if not self._situation.directory.known:
            return AgentPermanentError("no agent is enabled", code="NO_AGENT")
        return AgentTransientError("every agent is cut off or has all the calls it may have", code="NO_AGENT_FREE")

    def hear(self, done: Collection[Future[AgentAnswer]]) -> list[Heard]:
        """Take finished calls off the open ones and return what they came to; accounts for their circuits."""
        heard = [self._hear(self.calls.pop(future), future) for future in done]
        self._report([(one.call, one.error.code if one.error else None) for one in heard])
        return heard

    def hang_up(self, journey_ids: Collection[UUID]) -> list[CallEnded]:
        """Cancel the calls of these journeys (the client tells the agent to stop) and return what to record of them."""
        given_up = {future: call for future, call in self.calls.items() if call.journey_id in journey_ids}
        for future in given_up:
            del self.calls[future]
            future.cancel()
        # A probe that was claimed has to be given back; giving up says nothing about the agent.
        self._report([(call, AgentCode.INTERRUPTED) for call in given_up.values()])
        return [CallEnded(call.id, CANCELLED, "given up") for call in given_up.values()]

    def journeys(self) -> list[UUID]:
        """Return the journeys with an open call."""
        return [call.journey_id for call in self.calls.values()]

    def _next(self, journey_id: UUID) -> Choice | None:
        left = self._left[journey_id]
        while left:
            choice = left.pop(0)
            version = choice.version
            breaker = self._settings.gateway.breaker
            if not choice.is_probe or circuits.claim_probe(version.key, version.agent_id, breaker):
                return choice
        return None

    def _begin(self, calls: Sequence[Call]) -> None:
        begun = [
            CallBegun(
                call.id,
                call.journey_id,
                self._claims[call.journey_id].attempt,
                call.version.agent_id,
                call.version.version_id,
            )
            for call in calls
        ]
        with unit_of_work() as session:
            agent_queries.begin_calls(session, begun)

    def _start(self, call: Call) -> "Future[AgentAnswer]":
        claim = self._claims[call.journey_id]
        written = prompt.build(self._customer(claim), **_instruction(call.version))
        request = AgentRequest(
            target=call.version.target,
            inputs=written.inputs,
            query=written.query,
            # A fresh end-user for each welcome: agents keep conversations by user, and customers share none.
            user=claim.handle,
            trace_id=str(claim.journey_id),
        )
        return agent_client.start(request, on_delta=self._preview(claim).take)

    def _hear(self, call: Call, future: "Future[AgentAnswer]") -> Heard:
        error = future.exception()
        if error is not None:
            if not isinstance(error, AnmeiError):
                raise error
            return Heard(call, None, None, error, CallEnded(call.id, error.code, error.message))
        answer = future.result()
        recipient = self._recipient(self._claims[call.journey_id])
        verdict = guard.check(answer.text, recipient, self._settings.gateway.guard, moderated=answer.moderated)
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
        # A circuit with nothing to its discredit has no row, and a success would write nothing to it.
        noted = [(call, code) for call, code in ended if code is not None or call.version.key in self._situation.gates]
        if noted:
            outcomes = [(call.version.key, call.version.agent_id, code) for call, code in noted]
            persist(lambda: circuits.report(outcomes, self._settings.gateway.breaker))

    def _preview(self, claim: Claim) -> GuardedPreview:
        audience = customer_audience(claim.user_id)
        fields = {"conversation_id": str(claim.conversation_id), "journey_id": str(claim.journey_id)}

        def show(text: str) -> None:
            fanout.publish_frame(audience, "message_delta", {**fields, "text": text})

        return GuardedPreview(show, self._recipient(claim), self._settings.gateway.guard)

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
