"""The circuit breaker's states, as pure values."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from clients.agent_codes import AgentCode
from services.gateway.breaker import Circuit, CircuitState, Outcomes, claim_probe, gate, observe
from services.gateway.decision import Gate
from services.gateway.settings import BreakerSettings

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
SETTINGS = BreakerSettings(
    consecutive_failures=3, window_seconds=60, min_calls=10, failure_share=0.5, open_seconds=10, max_open_seconds=60,
    probes=2, successes_to_close=3, probe_seconds=30,
)  # fmt: skip
OK, FAILED = Outcomes(successes=1), Outcomes(failures=1)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def after(*outcomes: Outcomes, start: Circuit | None = None, when: datetime = NOW) -> Circuit:
    circuit = start or Circuit()
    for one in outcomes:
        circuit = observe(circuit, one, when, SETTINGS)
    return circuit


OPENED = after(FAILED, FAILED, FAILED)


def test_failures_in_a_row_open_it() -> None:
    assert after(FAILED, FAILED).state is CircuitState.CLOSED
    assert OPENED.state is CircuitState.OPEN
    assert gate(OPENED, at(9.9), SETTINGS) is Gate.OPEN


def test_a_success_in_between_ends_the_row() -> None:
    assert after(FAILED, FAILED, OK, FAILED, FAILED).state is CircuitState.CLOSED


def test_a_share_of_failures_opens_it_without_a_row() -> None:
    half = [FAILED, OK] * 5

    assert after(*half).state is CircuitState.CLOSED
    assert after(*half, FAILED).state is CircuitState.OPEN
    assert after(*half, OK, OK, OK, FAILED).state is CircuitState.CLOSED


def test_success_alone_leaves_no_trace() -> None:
    assert after(OK, Outcomes(successes=1000)) == Circuit()


def test_old_failures_are_forgotten_with_their_window() -> None:
    circuit = after(FAILED, OK, FAILED, OK, FAILED, OK, FAILED, OK, FAILED, OK)

    assert after(FAILED, start=circuit, when=at(59)).state is CircuitState.OPEN
    assert after(FAILED, start=circuit, when=at(60)).window_failures == 1
    assert after(OK, start=circuit, when=at(60)) == Circuit()


def test_a_failure_nothing_can_mend_opens_it_at_once() -> None:
    assert after(Outcomes.of(AgentCode.BAD_KEY)).state is CircuitState.OPEN
    assert after(Outcomes.of(AgentCode.TIMEOUT)).state is CircuitState.CLOSED


def test_what_says_nothing_about_the_agent_changes_nothing() -> None:
    assert after(FAILED, FAILED, Outcomes.of(AgentCode.INTERRUPTED)) == after(FAILED, FAILED)


def test_many_outcomes_at_once_count_like_their_sum() -> None:
    assert after(Outcomes(failures=3)).state is CircuitState.OPEN
    assert after(Outcomes(successes=100, failures=2)).state is CircuitState.CLOSED


def test_it_lets_as_many_probes_through_as_allowed_once_its_time_is_up() -> None:
    assert claim_probe(OPENED, at(9.9), SETTINGS) is None
    first = claim_probe(OPENED, at(10), SETTINGS)
    assert first is not None
    assert first.state is CircuitState.HALF_OPEN
    second = claim_probe(first, at(10), SETTINGS)
    assert second is not None
    assert claim_probe(second, at(10), SETTINGS) is None
    assert gate(second, at(10), SETTINGS) is Gate.OPEN


def test_probes_that_succeed_close_it() -> None:
    circuit = OPENED
    for _ in range(3):
        claimed = claim_probe(circuit, at(10), SETTINGS)
        assert claimed is not None
        circuit = after(OK, start=claimed, when=at(11))

    assert circuit == Circuit()


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    circuit, waits, now = OPENED, [], 0.0
    for _ in range(5):
        wait = next(seconds for seconds in range(1, 200) if gate(circuit, at(now + seconds), SETTINGS) is Gate.PROBE)
        waits.append(wait)
        now += wait
        claimed = claim_probe(circuit, at(now), SETTINGS)
        assert claimed is not None
        circuit = after(FAILED, start=claimed, when=at(now))

    assert waits == [10, 20, 40, 60, 60]


def test_probes_of_a_dead_process_are_forgotten() -> None:
    both = claim_probe(claim_probe(OPENED, at(10), SETTINGS) or OPENED, at(10), SETTINGS)
    assert both is not None

    assert gate(both, at(39), SETTINGS) is Gate.OPEN
    assert gate(both, at(40), SETTINGS) is Gate.PROBE


def test_an_uncounted_probe_gives_its_place_back() -> None:
    claimed = claim_probe(OPENED, at(10), SETTINGS)
    assert claimed is not None

    assert after(Outcomes.of(AgentCode.INTERRUPTED), start=claimed, when=at(11)).probes_open == 0


def test_calls_begun_before_it_opened_do_not_close_or_prolong_it() -> None:
    assert after(OK, FAILED, OK, start=OPENED, when=at(5)) == OPENED


steps = st.lists(
    st.tuples(
        st.floats(0, 120),
        st.one_of(st.none(), st.builds(Outcomes, st.integers(0, 5), st.integers(0, 5), st.integers(0, 1))),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_happens_it_stays_within_its_budget_and_can_always_recover(
    history: list[tuple[float, Outcomes | None]],
) -> None:
    circuit, now = Circuit(), NOW
    for seconds, outcomes in history:
        now += timedelta(seconds=seconds)
        circuit = (
            observe(circuit, outcomes, now, SETTINGS) if outcomes else claim_probe(circuit, now, SETTINGS) or circuit
        )
        assert 0 <= circuit.probes_open <= SETTINGS.probes
        assert (gate(circuit, now, SETTINGS) is Gate.CLOSED) == (circuit.state is CircuitState.CLOSED)

    now += timedelta(seconds=SETTINGS.max_open_seconds + SETTINGS.probe_seconds)
    for _ in range(SETTINGS.successes_to_close):
        claimed = claim_probe(circuit, now, SETTINGS)
        if circuit.state is not CircuitState.CLOSED:
            assert claimed is not None
        circuit = observe(claimed or circuit, OK, now, SETTINGS)
    assert circuit.state is CircuitState.CLOSED


def test_each_probe_that_was_hung_up_is_given_back_also_beside_others() -> None:
    one = claim_probe(OPENED, at(11), SETTINGS)
    assert one is not None
    both = claim_probe(one, at(11), SETTINGS)
    assert both is not None
    assert after(Outcomes(neutral=2), start=both, when=at(12)).probes_open == 0
    beside_a_success = after(Outcomes(successes=1, neutral=1), start=both, when=at(12))
    assert (beside_a_success.probes_open, beside_a_success.probe_successes) == (0, 1)
