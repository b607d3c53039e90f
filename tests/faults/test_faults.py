"""The fault suite in short: a whole stack each, everything that hurts most, and then everything counted."""

import pytest

from tests.faults.brokers import rabbitmq_available
from tests.faults.cases import CASES, Case
from tests.faults.run import Counted, run

BY_NAME = {case.name: case for case in CASES}
COUNT, PER_SECOND = 120, 40.0

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", ["API killed between commit and publish", "rolling restart", "all at once"])
def test_nothing_is_lost_and_nothing_happens_twice(name: str) -> None:
    case = BY_NAME[name]
    assert run(case, "redis", count=COUNT, per_second=PER_SECOND).problems(case) == []


@pytest.mark.skipif(not rabbitmq_available(), reason="RabbitMQ is not installed (Debian: rabbitmq-server)")
def test_the_same_holds_on_rabbitmq() -> None:
    case = BY_NAME["all at once"]
    assert run(case, "rabbitmq", count=COUNT // 2, per_second=PER_SECOND).problems(case) == []


def counted(**changes: object) -> Counted:
    sound: dict[str, object] = {
        "case": "x",
        "broker": "redis",
        "accepted": 100,
        "journeys": 100,
        "succeeded": 99,
        "dead_letters": 1,
        "alerts": 1,
        "conversations": 100,
        "greeted": 100,
        "by_agent": 99,
        "by_template": 1,
        "notifications": 300,
        "agent_calls": 102,
        "attempts_lost": 0,
        "slowest_greeting_seconds": 1.0,
        "greeted_late": 0,
        "pushes": 300,
        "pushes_distinct": 300,
        "repeats": 0,
        "recovery_seconds": 1.0,
    }
    return Counted(**(sound | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"succeeded": 98}, "succeeded and dead letters"),
        ({"conversations": 101}, "conversations"),
        ({"greeted": 99}, "greeted"),
        ({"notifications": 299}, "notifications"),
        ({"pushes_distinct": 299}, "pushes received"),
        ({"agent_calls": 103}, "agent calls"),
        ({"journeys": 101}, "journeys"),
    ],
)
def test_the_verdict_sees_what_is_lost_or_doubled(changes: dict[str, object], named: str) -> None:
    assert counted().problems(Case("x")) == []
    (problem,) = counted(**changes).problems(Case("x"))
    assert problem.startswith(named)
