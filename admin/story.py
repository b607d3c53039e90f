"""One journey told for readers: its moments in words, and the stretches of time its bar shows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from admin import charts
from admin.charts import Lanes, Stretch
from admin.i18n import Language
from admin.words import WORDS
from core.clock import utc_now
from models import AttemptOutcome, CallStatus, JourneyStatus
from services.dashboard import TARGET_MS
from services.journeys_read import JourneyDetail

# An answer shown in the timeline; the whole text stands under messages.
SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Moment:
    at: datetime
    since_ms: float
    kind: str
    state: str
    text: str


class Story:
    """The detail of one journey in one language."""

    def __init__(self, detail: JourneyDetail, language: Language) -> None:
        self._detail = detail
        self._record = detail.record
        self._language = language
        self._accepted = detail.record.journey.accepted_at

    def moments(self) -> list[Moment]:
        """Return everything that happened, earliest first."""
        parts: tuple[Callable[[], Iterator[Moment]], ...] = (
            self._journey,
            self._attempts,
            self._agent_calls,
            self._mcp_calls,
            self._messages,
            self._notifications,
            self._dead_letters,
            self._claims,
        )
        return sorted((one for part in parts for one in part()), key=lambda one: one.at)

    def lanes(self) -> Lanes:
        """Return where the time went: steps with their waits, agent calls, tool calls, each in its lane."""
        return charts.lanes(list(self._stretches()), target_ms=TARGET_MS)

    def _stretches(self) -> Iterator[Stretch]:
        for step in self._detail.steps:
            row = self._word(step.name)
            own = [one for one in self._record.attempts if one.step == step.name]
            waited_from = self._ready(step.name)
            if not own:
                yield Stretch(row, "none", "", 0, 0)
            for attempt in own:
                begin, end = self._since(attempt.started_at), self._since(attempt.finished_at or utc_now())
                if waited_from is not None and begin - waited_from > 1:
                    yield self._stretch(row, "wait", self._("waited"), waited_from, begin)
                yield self._stretch(row, attempt.outcome, self._word(attempt.outcome), begin, end)
                waited_from = end
        for call in self._record.agent_calls:
            end = self._since(call.finished_at or utc_now())
            yield self._stretch(
                self._("Agent call"), call.status, self._word(call.status), self._since(call.started_at), end
            )
        for tool in self._record.mcp_calls:
            # The log is written when a call ends.
            end = self._since(tool.created_at)
            state = "succeeded" if tool.success else "failed"
            yield self._stretch(self._("MCP call"), state, tool.tool_name, end - tool.duration_ms, end)

    def _ready(self, step: str) -> float | None:
        """Return when the step could begin: after the one before it, or at acceptance."""
        names = [one.name for one in self._detail.steps]
        place = names.index(step)
        if place == 0:
            return 0.0
        before = self._detail.steps[place - 1].finished_at
        return self._since(before) if before is not None else None

    def _stretch(self, row: str, kind: str, text: str, begin: float, end: float) -> Stretch:
        return Stretch(row, kind, f"{row}: {text}, {self._language.duration(end - begin)}", begin, end)

    def _journey(self) -> Iterator[Moment]:
        journey, conversation = self._record.journey, self._record.conversation
        yield self._moment(journey.accepted_at, "journey", "ok", self._("The registration was accepted and committed."))
        if conversation is not None:
            text = self._("The conversation “%(title)s” was opened.") % {"title": conversation.title}
            yield self._moment(conversation.created_at, "journey", "ok", text)
        if journey.finished_at is not None:
            good = journey.status == JourneyStatus.SUCCEEDED
            text = self._("The journey ended: %(status)s.") % {"status": self._word(journey.status)}
            text += f" {self._word(journey.reason)}" if journey.reason else ""
            yield self._moment(journey.finished_at, "journey", "ok" if good else "bad", text)

    def _attempts(self) -> Iterator[Moment]:
        for one in self._record.attempts:
            name = self._("%(step)s, attempt %(number)s") % {"step": self._word(one.step), "number": one.attempt}
            if one.finished_at is None:
                yield self._moment(one.started_at, "step", "now", f"{name}: {self._word('running')}")
                continue
            took = self._language.duration(one.duration_ms)
            why = f" ({one.error_code})" if one.error_code else ""
            state = "ok" if one.outcome == AttemptOutcome.SUCCEEDED else "bad"
            yield self._moment(one.finished_at, "step", state, f"{name}: {self._word(one.outcome)}{why}, {took}")

    def _agent_calls(self) -> Iterator[Moment]:
        for one in self._record.agent_calls:
            yield self._moment(one.started_at, "agent", "now", self._("The agent was asked for a welcome."))
            if one.finished_at is not None:
                took = self._language.duration(one.duration_ms)
                if one.status == CallStatus.SUCCEEDED:
                    text, state = self._("The agent answered after %(took)s.") % {"took": took}, "ok"
                else:
                    values = {"took": took, "code": one.error_code or ""}
                    text, state = self._("The agent failed after %(took)s (%(code)s).") % values, "bad"
                if one.refusal:
                    text += " " + self._("The guard refused the answer: %(why)s.") % {"why": one.refusal}
                    state = "bad"
                yield self._moment(one.finished_at, "agent", state, text)

    def _mcp_calls(self) -> Iterator[Moment]:
        for one in self._record.mcp_calls:
            values = {
                "tool": one.tool_name,
                "outcome": self._word(one.outcome),
                "took": self._language.duration(one.duration_ms),
            }
            text = self._("The agent called the tool %(tool)s: %(outcome)s, %(took)s.") % values
            yield self._moment(one.created_at, "mcp", "ok" if one.success else "bad", text)

    def _messages(self) -> Iterator[Moment]:
        for one in self._record.messages:
            text = str(one.content.get("text", ""))
            shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
            values = {"source": self._word(one.source or ""), "text": shown}
            yield self._moment(
                one.created_at, "message", "ok", self._("The welcome was stored (%(source)s): “%(text)s”") % values
            )

    def _notifications(self) -> Iterator[Moment]:
        for one in self._record.notifications:
            values = {"channel": self._word(one.channel)}
            if one.sent_at is not None:
                yield self._moment(
                    one.sent_at, "notification", "ok", self._("A consultant was told by %(channel)s.") % values
                )
            else:
                state = "bad" if one.status == "failed" else "now"
                text = self._("A consultant is to be told by %(channel)s.") % values
                yield self._moment(
                    one.created_at, "notification", state, text + (f" ({one.error_code})" if one.error_code else "")
                )
            if one.delivered_at is not None:
                text = self._("The consultant's device received it (%(channel)s).") % values
                yield self._moment(one.delivered_at, "notification", "ok", text)

    def _dead_letters(self) -> Iterator[Moment]:
        for one in self._record.dead_letters:
            values = {"step": self._word(one.step), "code": one.error_code}
            yield self._moment(
                one.opened_at, "dead_letter", "bad", self._("%(step)s failed for good (%(code)s).") % values
            )
            if one.closed_at is not None:
                closed = {"status": self._word(one.status), "who": one.closed_by or ""}
                text = self._("The dead letter was closed by %(who)s: %(status)s.") % closed
                yield self._moment(one.closed_at, "dead_letter", "now", text)

    def _claims(self) -> Iterator[Moment]:
        for claim, name in self._detail.claims:
            values = {"who": name, "waited": self._language.duration(claim.waited_ms)}
            yield self._moment(
                claim.claimed_at, "claim", "ok", self._("%(who)s took the customer over after %(waited)s.") % values
            )

    def _moment(self, at: datetime, kind: str, state: str, text: str) -> Moment:
        return Moment(at, self._since(at), kind, state, text)

    def _since(self, at: datetime) -> float:
        return (at - self._accepted).total_seconds() * 1000

    def _(self, text: str) -> str:
        return self._language.gettext(text)

    def _word(self, value: str) -> str:
        return self._language.gettext(WORDS.get(value, value))
