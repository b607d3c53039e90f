"""A circuit breaker as values: closed, open, half-open with a budget of probes. Pure; whoever stores it holds the lock."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from clients.agent_codes import AgentCode
from services.gateway.decision import Gate
from services.gateway.settings import BreakerSettings


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# A new key, address or contract is needed: the next call cannot fare better.
TRIPPING_CODES = frozenset(
    {
        AgentCode.BAD_KEY,
        AgentCode.FORBIDDEN,
        AgentCode.NOT_FOUND,
        AgentCode.MISCONFIGURED,
        AgentCode.QUOTA,
        AgentCode.BAD_URL,
        AgentCode.REDIRECTED,
        AgentCode.UNSUPPORTED,
    }
)
# Says nothing about the agent: our own process ended, our own code failed, or one customer's words were refused.
UNCOUNTED_CODES = frozenset(
    {AgentCode.INTERRUPTED, AgentCode.CLIENT_FAULT, AgentCode.POOL_EXHAUSTED, AgentCode.CONTENT_FILTERED}
)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How calls of one version ended since the last time it was told. `tripping` failures open the circuit at once.

    `neutral` calls say nothing about the agent; what they held of a half-open circuit's probes is given back.
    """

    successes: int = 0
    failures: int = 0
    tripping: int = 0
    neutral: int = 0

    @classmethod
    def of(cls, error_code: str | None) -> "Outcomes":
        """Return the outcome of one call; None is success."""
        if error_code is None:
            return cls(successes=1)
        if error_code in UNCOUNTED_CODES:
            return cls(neutral=1)
        return cls(failures=1, tripping=int(error_code in TRIPPING_CODES))


@dataclass(frozen=True, slots=True)
class Circuit:
    """One version's circuit. `opened_times` counts openings in a row; it is 0 once the circuit has closed again."""

    state: CircuitState = CircuitState.CLOSED
    consecutive_failures: int = 0
    window_started_at: datetime | None = None
    window_successes: int = 0
    window_failures: int = 0
    opened_at: datetime | None = None
    opened_times: int = 0
    probes_open: int = 0
    probe_successes: int = 0
    probed_at: datetime | None = None


def gate(circuit: Circuit, now: datetime, settings: BreakerSettings) -> Gate:
    """Tell what the next call may do. Changes nothing: a probe is taken by `claim_probe`."""
    if circuit.state is CircuitState.CLOSED:
        return Gate.CLOSED
    return Gate.PROBE if claim_probe(circuit, now, settings) is not None else Gate.OPEN


def claim_probe(circuit: Circuit, now: datetime, settings: BreakerSettings) -> Circuit | None:
    """Return the circuit with one more probe under way, or None when there is none to spare. Not for a closed circuit."""
    if circuit.state is CircuitState.CLOSED:
        return None
    if circuit.state is CircuitState.OPEN:
        if circuit.opened_at is not None and now < circuit.opened_at + open_time(circuit, settings):
            return None
        circuit = replace(circuit, state=CircuitState.HALF_OPEN, probes_open=0, probe_successes=0)
    elif circuit.probed_at is not None and now >= circuit.probed_at + timedelta(seconds=settings.probe_seconds):
        # The processes that held these probes died with them.
        circuit = replace(circuit, probes_open=0)
    if circuit.probes_open >= settings.probes:
        return None
    return replace(circuit, probes_open=circuit.probes_open + 1, probed_at=now)


def open_time(circuit: Circuit, settings: BreakerSettings) -> timedelta:
    """Return how long the circuit stays open this time: doubled with each opening in a row."""
    doublings = min(max(circuit.opened_times - 1, 0), 30)
    return timedelta(seconds=min(settings.open_seconds * 2**doublings, settings.max_open_seconds))


def observe(circuit: Circuit, outcomes: Outcomes, now: datetime, settings: BreakerSettings) -> Circuit:
    """Return the circuit after these calls ended. A window begins with its first failure: success alone leaves no trace."""
    if outcomes.successes + outcomes.failures == 0:
        if not _is_half_open(circuit):
            return circuit
        return replace(circuit, probes_open=max(0, circuit.probes_open - outcomes.neutral))
    if circuit.state is CircuitState.OPEN:
        # Calls begun before it opened; what they say is known already.
        return circuit
    if _is_half_open(circuit):
        return _observe_probes(circuit, outcomes, now, settings)
    circuit = _count(circuit, outcomes, now, settings)
    calls = circuit.window_successes + circuit.window_failures
    failing = calls >= settings.min_calls and circuit.window_failures >= settings.failure_share * calls
    in_a_row = circuit.consecutive_failures >= settings.consecutive_failures
    if outcomes.failures and (outcomes.tripping or failing or in_a_row):
        return _opened(circuit, now)
    return circuit if circuit.window_failures else Circuit()


def _is_half_open(circuit: Circuit) -> bool:
    return circuit.state is CircuitState.HALF_OPEN


def _observe_probes(circuit: Circuit, outcomes: Outcomes, now: datetime, settings: BreakerSettings) -> Circuit:
    if outcomes.failures:
        return _opened(circuit, now)
    succeeded, ended = circuit.probe_successes + outcomes.successes, outcomes.successes + outcomes.neutral
    if succeeded >= settings.successes_to_close:
        return Circuit()
    return replace(circuit, probe_successes=succeeded, probes_open=max(0, circuit.probes_open - ended))


def _count(circuit: Circuit, outcomes: Outcomes, now: datetime, settings: BreakerSettings) -> Circuit:
    started = circuit.window_started_at
    if started is None or now >= started + timedelta(seconds=settings.window_seconds):
        circuit = replace(circuit, window_started_at=now, window_successes=0, window_failures=0)
    # Within one report the order is not known; a success among the failures ends the row.
    in_a_row = outcomes.failures if outcomes.successes else circuit.consecutive_failures + outcomes.failures
    return replace(
        circuit,
        consecutive_failures=0 if not outcomes.failures else in_a_row,
        window_successes=circuit.window_successes + outcomes.successes,
        window_failures=circuit.window_failures + outcomes.failures,
    )


def _opened(circuit: Circuit, now: datetime) -> Circuit:
    return Circuit(state=CircuitState.OPEN, opened_at=now, opened_times=circuit.opened_times + 1)
