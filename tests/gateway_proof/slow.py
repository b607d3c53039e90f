"""Two hundred slow agents, all at once: what the worker needs, and whether anybody else waits."""

import threading
from dataclasses import dataclass

import psutil

from tests.gateway_proof.people import people, register
from tests.gateway_proof.stack import ProofStack

SAMPLE_SECONDS = 0.2
# How much longer the others' p99 may take beside slow agents than beside quick ones: what a busy machine does by itself.
ALLOWED_FACTOR, ALLOWED_SECONDS = 3.0, 0.5


@dataclass(frozen=True)
class Beside:
    """What others experienced during one run, and what the agents worker used at most."""

    agent_seconds: float
    customers: int
    most_open_calls: int
    memory_idle_mb: float
    memory_mb: float
    threads: int
    conversation_p99: float
    notification_p99: float
    greeting_p99: float
    late: int
    by_agent_in_the_end: int

    def line(self) -> str:
        return (
            f"| {self.agent_seconds:g} s | {self.customers} | {self.most_open_calls} | {self.memory_idle_mb:.0f} → {self.memory_mb:.0f} MB | "
            f"{self.threads} | {self.conversation_p99:.3f} s | {self.notification_p99:.3f} s | {self.greeting_p99:.2f} s | {self.late} | "
            f"{self.by_agent_in_the_end} |"
        )


@dataclass(frozen=True)
class Slow:
    """Both runs."""

    idle: Beside
    slow: Beside
    wanted: int

    def report(self) -> str:
        head = (
            "| agent | customers | calls open at most | memory of the agents worker (USS) | threads | accept → conversation p99 | "
            "greeting → notified p99 | greeting p99 | after 3 s | agent's text arrived |\n"
            "|" + " --- |" * 10
        )
        return "\n".join((head, self.idle.line(), self.slow.line()))

    def problems(self) -> list[str]:
        found = []
        if self.slow.most_open_calls < self.wanted * 0.9:
            found.append(f"only {self.slow.most_open_calls} calls were open at once instead of {self.wanted}")
        for name in ("conversation_p99", "notification_p99"):
            idle, slow = getattr(self.idle, name), getattr(self.slow, name)
            if slow > max(idle * ALLOWED_FACTOR, idle + ALLOWED_SECONDS):
                found.append(f"{name}: {slow:.3f} s beside slow agents, {idle:.3f} s beside quick ones")
        if self.slow.late:
            found.append(f"{self.slow.late} customers were greeted after 3 s")
        return found


def run(*, at_once: int, threads: int, agent_seconds: float) -> Slow:
    """Register at the rate that keeps `at_once` calls open, three times as long as one takes: beside quick agents, then slow ones."""
    rate = at_once / agent_seconds
    idle, slow = (_beside(latency, rate, 3 * agent_seconds, threads) for latency in (0.0, agent_seconds))
    return Slow(idle, slow, at_once)


def _beside(latency: float, per_second: float, seconds: float, threads: int) -> Beside:
    arguments = ("--fixed-latency-ms", str(latency * 1000), "--no-mcp")
    # The cap of one version is not under test.
    settings = {"gateway": {"max_concurrent_calls": 5000}}
    with ProofStack(agent_arguments=arguments, agent_threads=threads, settings=settings) as stack:
        register(stack, people(20), per_second=10)
        stack.settle()
        watch = _Watch(stack)
        customers = people(round(per_second * seconds))
        with watch:
            register(stack, customers, per_second=per_second)
            stack.settle()
        return _judged(stack, latency, len(customers), watch)


class _Watch:
    """Samples the agents worker and the open calls until told to stop."""

    def __init__(self, stack: ProofStack) -> None:
        self._stack = stack
        self._process = psutil.Process(stack.supervisor.roles["agents"].pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="watch")
        self.idle_bytes = self._process.memory_full_info().uss
        self.bytes = self.threads = self.open_calls = 0

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, self._process.memory_full_info().uss)
            self.threads = max(self.threads, self._process.num_threads())
            running = self._stack.scalar("SELECT count(*) FROM agent_calls WHERE status = 'running'")
            self.open_calls = max(self.open_calls, int(str(running)))


def _judged(stack: ProofStack, latency: float, customers: int, watch: _Watch) -> Beside:
    newest = f"(SELECT * FROM journeys ORDER BY accepted_at DESC LIMIT {customers}) j"
    ((conversation, notification, greeting, late),) = stack.rows(
        "SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM conversation_at - accepted_at)), "
        "percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM notified_at - greeted_at)), "
        "percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM greeted_at - accepted_at)), "
        f"count(*) FILTER (WHERE greeted_at - accepted_at > interval '3 s') FROM {newest}"
    )
    by_agent = stack.scalar(
        f"SELECT count(*) FROM {newest} JOIN messages m ON m.journey_id = j.id WHERE m.source = 'agent'"
    )
    return Beside(
        agent_seconds=latency,
        customers=customers,
        most_open_calls=watch.open_calls,
        memory_idle_mb=watch.idle_bytes / 1e6,
        memory_mb=watch.bytes / 1e6,
        threads=watch.threads,
        conversation_p99=float(str(conversation)),
        notification_p99=float(str(notification)),
        greeting_p99=float(str(greeting)),
        late=int(str(late)),
        by_agent_in_the_end=int(str(by_agent)),
    )
