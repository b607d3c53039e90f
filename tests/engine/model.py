"""A model of one journey in plain Python: what the engine's statements promise, without their sets, locks and joins."""

from dataclasses import dataclass, field
from uuid import UUID

CREATE, WELCOME, NOTIFY = "create_conversation", "generate_welcome", "notify_consultants"
OPEN_STATUSES = ("pending", "waiting", "running", "failed")


@dataclass
class Step:
    """One step: its status, whether it may begin, who holds it."""

    status: str = "pending"
    attempts: int = 0
    failures: int = 0
    due: bool = False
    token: UUID | None = None
    lease_over: bool = False

    def startable(self) -> bool:
        return self.due and (self.status in ("pending", "waiting") or (self.status == "running" and self.lease_over))

    def succeed(self) -> None:
        self.status, self.due, self.token = "succeeded", False, None


@dataclass
class Journey:
    """One journey and the effects it has had."""

    status: str = "accepted"
    steps: dict[str, Step] = field(default_factory=lambda: {CREATE: Step(due=True), WELCOME: Step(), NOTIFY: Step()})
    conversations: int = 0
    messages: list[str] = field(default_factory=list)
    notified: int = 0
    dead_letters: list[str] = field(default_factory=list)

    @property
    def open_steps(self) -> int:
        return 0 if self.status == "cancelled" else sum(one.status != "succeeded" for one in self.steps.values())

    def open_conversation(self) -> None:
        step = self.steps[CREATE]
        if step.startable():
            step.attempts += 1
            step.succeed()
            self.conversations += 1
            self._let_begin(WELCOME)
            self._moved()

    def claim(self, token: UUID) -> bool:
        step = self.steps[WELCOME]
        if not step.startable():
            return False
        step.status, step.token, step.lease_over = "running", token, False
        step.attempts += 1
        self._moved(finished=False)
        return True

    def holds(self, token: UUID) -> bool:
        step = self.steps[WELCOME]
        return step.status == "running" and step.token == token

    def answer(self, token: UUID) -> bool:
        if not self.holds(token):
            return False
        self.steps[WELCOME].succeed()
        self._say("agent")
        self._let_begin(NOTIFY)
        self._moved()
        return True

    def fail(self, token: UUID, *, again: bool) -> bool:
        if not self.holds(token):
            return False
        step = self.steps[WELCOME]
        step.failures += 1
        step.token, step.due = None, False
        step.status = "waiting" if again else "failed"
        self._let_begin(NOTIFY)
        if not again:
            self.dead_letters.append("open")
            self.status = "failed"
        return True

    def notification_let_go(self) -> None:
        """A failure that came too late to be recorded still lets the notification begin."""
        self._let_begin(NOTIFY)

    def hand_back(self, token: UUID) -> None:
        if self.holds(token):
            step = self.steps[WELCOME]
            step.status, step.token, step.due = "pending", None, True

    def expire(self) -> None:
        if self.steps[WELCOME].status == "running":
            self.steps[WELCOME].lease_over = True

    def retry_is_due(self) -> None:
        if self.steps[WELCOME].status == "waiting":
            self.steps[WELCOME].due = True

    def greet(self) -> None:
        if self.conversations and not self.messages and self.status != "cancelled":
            self._say("template")
            self._let_begin(NOTIFY)

    def notify(self) -> None:
        step = self.steps[NOTIFY]
        if step.startable():
            step.attempts += 1
            step.succeed()
            self.notified += 1
            self._moved()

    def replay(self) -> None:
        if "open" in self.dead_letters:
            step = self.steps[WELCOME]
            step.status, step.failures, step.due = "pending", 0, True
            self.dead_letters[self.dead_letters.index("open")] = "replayed"
            self.status = "running"

    def cancel(self) -> bool:
        if self.status in ("succeeded", "cancelled"):
            return False
        for step in self.steps.values():
            if step.status in ("pending", "waiting", "running"):
                step.status = "skipped"
            step.due, step.token = False, None
        self.dead_letters = ["discarded" if one == "open" else one for one in self.dead_letters]
        self.status = "cancelled"
        return True

    def _say(self, source: str) -> None:
        if source not in self.messages:
            self.messages.append(source)

    def _let_begin(self, name: str) -> None:
        if self.steps[name].status == "pending":
            self.steps[name].due = True

    def _moved(self, *, finished: bool = True) -> None:
        if finished and self.open_steps == 0:
            self.status = "succeeded"
        elif self.status == "accepted":
            self.status = "running"
