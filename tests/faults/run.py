"""One run: a stack, a load, a fault, and what was counted afterwards."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from tests.faults.brokers import Broker, RabbitBroker, RedisBroker
from tests.faults.cases import Case
from tests.faults.load import Sent, send
from tests.faults.stack import CONSULTANTS, Stack
from tests.support.waiting import wait_until

SETTLE_SECONDS = 120.0
BROKERS = {
    "redis": lambda folder: RedisBroker(folder / "broker", durable=False),
    "redis-aof": lambda folder: RedisBroker(folder / "broker", durable=True),
    "rabbitmq": RabbitBroker,
}

COUNTED = """
SELECT (SELECT count(*) FROM journeys),
       (SELECT count(*) FROM journeys WHERE status = 'succeeded'),
       (SELECT count(*) FROM dead_letters WHERE status = 'open'),
       (SELECT count(*) FROM alerts),
       (SELECT count(*) FROM conversations),
       (SELECT count(*) FROM (SELECT journey_id FROM messages GROUP BY journey_id) greeted),
       (SELECT count(*) FROM messages WHERE source = 'agent'),
       (SELECT count(*) FROM messages WHERE source = 'template'),
       (SELECT count(*) FROM notifications),
       (SELECT count(*) FROM agent_calls),
       (SELECT count(*) FROM step_attempts WHERE outcome = 'lost'),
       (SELECT coalesce(max(extract(epoch FROM greeted_at - accepted_at)), 0)::float FROM journeys),
       (SELECT count(*) FROM journeys WHERE greeted_at - accepted_at > interval '3 s')
"""
OPEN = "SELECT count(*) FROM journeys WHERE status IN ('accepted', 'running')"
UNSENT = "SELECT count(*) FROM notifications WHERE status = 'pending'"


@dataclass(frozen=True)
class Counted:
    """Everything one run left behind."""

    case: str
    broker: str
    accepted: int
    journeys: int
    succeeded: int
    dead_letters: int
    alerts: int
    conversations: int
    greeted: int
    by_agent: int
    by_template: int
    notifications: int
    agent_calls: int
    attempts_lost: int
    slowest_greeting_seconds: float
    greeted_late: int
    pushes: int
    pushes_distinct: int
    repeats: int
    recovery_seconds: float

    def problems(self, case: Case) -> list[str]:
        """Return what the guarantees say must not be; nothing when they held."""
        expected = {
            "journeys": self.accepted,
            "conversations": self.accepted,
            "succeeded and dead letters": self.accepted,
            "greeted": self.accepted,
            "notifications": self.accepted * CONSULTANTS,
            "pushes received": self.accepted * CONSULTANTS,
        }
        found = {
            "journeys": self.journeys,
            "conversations": self.conversations,
            "succeeded and dead letters": self.succeeded + self.dead_letters,
            "greeted": self.greeted,
            "notifications": self.notifications,
            "pushes received": self.pushes_distinct,
        }
        wrong = [
            f"{name}: {found[name]} instead of {expected[name]}" for name in expected if found[name] != expected[name]
        ]
        if case.agent_healthy and self.agent_calls > max(1.02 * self.accepted, self.accepted + self.attempts_lost):
            wrong.append(
                f"agent calls: {self.agent_calls} for {self.accepted} journeys, {self.attempts_lost} attempts lost"
            )
        return wrong


def run(case: Case, broker: str, *, count: int, per_second: float) -> Counted:
    """Run one fault against one broker and count; raises AssertionError when journeys are still open at the end."""
    factory: object = BROKERS[broker]
    with Stack(
        factory, faults=case.faults, environment=case.environment, agent_arguments=case.agent_arguments
    ) as stack:
        over = Event()

        def load() -> Sent:
            try:
                return send(stack.api_url, stack.webhook_secret, count=count, per_second=per_second)
            finally:
                over.set()

        # The load has the thread of its own: servers that a fault starts live as long as the thread that started them.
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(load)
            case.inject(stack, over)
            sent = loading.result()
        fault_over = time.monotonic()
        stack.supervisor.let_up("agent")
        wait_until(lambda: _settled(stack), timeout_seconds=SETTLE_SECONDS, poll_seconds=0.1)
        recovery = time.monotonic() - fault_over
        return _count(case, broker, stack, sent, recovery)


def _settled(stack: Stack) -> bool:
    import psycopg

    try:
        return stack.scalar(OPEN) == 0 and stack.scalar(UNSENT) == 0
    except psycopg.OperationalError:
        return False


def _count(case: Case, broker: str, stack: Stack, sent: Sent, recovery: float) -> Counted:
    counts = [value if isinstance(value, float) else int(str(value)) for value in stack.rows(COUNTED)[0]]
    keys = stack.push_keys()
    if sent.given_up:
        raise AssertionError(f"{len(sent.given_up)} registrations were never accepted: {stack.tail('api')}")
    known = {str(row[0]) for row in stack.rows("SELECT id FROM journeys")}
    missing = set(sent.journeys.values()) - known
    if missing:
        raise AssertionError(f"{len(missing)} accepted journeys are not in the database")
    return Counted(
        case.name,
        broker,
        len(sent.journeys),
        *counts,  # type: ignore[arg-type]
        pushes=len(keys),
        pushes_distinct=len(set(keys)),
        repeats=sent.repeats,
        recovery_seconds=recovery,
    )


__all__ = ["Broker", "Counted", "run"]
