"""A bad canary from its first call to its rollback, with the pure rules alone: who noticed, and how long it took."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from clients.agent_codes import AgentCode
from services.gateway import breaker
from services.gateway.decision import AgentOption, CandidateKind, Gate, Strategy, VersionOption, candidates
from services.gateway.settings import GatewaySettings
from services.gateway.statistics import VersionFigures, judge_canary

AGENT, STABLE, CANARY = UUID(int=1), UUID(int=11), UUID(int=12)
SETTINGS = GatewaySettings()
CUSTOMERS = 4000
FAILURE_SHARE = {STABLE: 0.01, CANARY: 0.5}


class World:
    """Customers arriving one by one, ten a second; every outcome goes to circuits and figures as in production."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = datetime(2026, 11, 20, 8, tzinfo=UTC)
        self.circuits = {STABLE: breaker.Circuit(), CANARY: breaker.Circuit()}
        self.figures = {key: VersionFigures(key) for key in self.circuits}
        self.canary = {CANARY: 10.0}
        self.greeted_by: Counter[str] = Counter()
        self.rolled_back_after: int | None = None

    def greet(self, user: str) -> None:
        gates = {key: breaker.gate(one, self.now, SETTINGS.breaker) for key, one in self.circuits.items()}
        versions = [VersionOption(STABLE, AGENT), VersionOption(CANARY, AGENT, enabled=CANARY in self.canary)]
        order = candidates(
            [AgentOption(AGENT, 0)], versions, {}, self.canary, gates, user, Strategy.AGENT_THEN_TEMPLATE
        )
        for one in order:
            if one.kind is CandidateKind.TEMPLATE or (one.version_id is not None and self.call(one.version_id, gates)):
                self.greeted_by[one.kind if one.kind is CandidateKind.TEMPLATE else str(one.version_id)] += 1
                return

    def call(self, key: UUID, gates: dict[UUID, Gate]) -> bool:
        if gates[key] is Gate.PROBE:
            claimed = breaker.claim_probe(self.circuits[key], self.now, SETTINGS.breaker)
            if claimed is None:
                return False
            self.circuits[key] = claimed
        failed = self.dice.random() < FAILURE_SHARE[key]
        outcome = breaker.Outcomes.of(AgentCode.UNAVAILABLE if failed else None)
        self.circuits[key] = breaker.observe(self.circuits[key], outcome, self.now, SETTINGS.breaker)
        was = self.figures[key]
        counted = {"calls": was.calls + 1, "failed": was.failed + failed, "succeeded": was.succeeded + (not failed)}
        self.figures[key] = replace(was, **counted)
        return not failed

    def review(self) -> None:
        openings = self.circuits[CANARY].opened_times
        verdict = judge_canary(self.figures[CANARY], self.figures[STABLE], SETTINGS.canary, circuit_openings=openings)
        if CANARY in self.canary and verdict.roll_back:
            del self.canary[CANARY]
            self.rolled_back_after = self.figures[CANARY].calls


def lived(seed: int) -> World:
    world = World(seed)
    for number in range(CUSTOMERS):
        world.now += timedelta(milliseconds=100)
        world.greet(f"customer-{seed}-{number}")
        if number % 50 == 0:
            world.review()
    return world


def test_a_canary_that_fails_half_the_time_is_taken_back_and_no_customer_goes_without() -> None:
    for seed in range(10):
        world = lived(seed)

        assert world.rolled_back_after is not None
        assert world.rolled_back_after <= 60
        assert world.greeted_by.total() == CUSTOMERS
        # The stable version stands in for the canary; what is left to the template is the stable version's own share.
        assert world.greeted_by[CandidateKind.TEMPLATE] < 0.02 * CUSTOMERS


def test_a_canary_as_good_as_the_stable_version_lives() -> None:
    FAILURE_SHARE[CANARY] = 0.01
    try:
        assert [lived(seed).rolled_back_after for seed in range(10)] == [None] * 10
    finally:
        FAILURE_SHARE[CANARY] = 0.5
