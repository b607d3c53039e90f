"""The circuit breakers as all processes share them: rows, locked while they change. The rules are in gateway.breaker."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from core import log_events
from core.database import Statements, unit_of_work
from core.logging import get_logger
from models import AgentCircuit
from queries import gateway as gateway_queries
from services.gateway import breaker
from services.gateway.breaker import Circuit, CircuitState, Outcomes
from services.gateway.decision import Gate
from services.gateway.settings import BreakerSettings

log = get_logger(__name__)

_STORED = tuple(field.name for field in fields(Circuit) if field.name != "state")


def gates(settings: BreakerSettings) -> dict[UUID, Gate]:
    """Like `read_gates`, in a transaction of its own."""
    with unit_of_work() as session:
        return read_gates(session, settings)


def read_gates(session: Statements, settings: BreakerSettings) -> dict[UUID, Gate]:
    """Return what each noted version's circuit says to the next call; a version that is missing is closed."""
    rows = gateway_queries.list_circuits(session)
    if not rows:
        return {}
    now = gateway_queries.clock(session)
    return {row.id: breaker.gate(_circuit(row), now, settings) for row in rows}


def claim_probe(key: UUID, agent_id: UUID, settings: BreakerSettings) -> bool:
    """Take one of a half-open circuit's probes; False when others took them. The call's outcome gives it back."""
    with unit_of_work() as session:
        (row,) = gateway_queries.lock_circuits(session, {key: agent_id})
        now = gateway_queries.clock(session)
        circuit = _circuit(row)
        if circuit.state is CircuitState.CLOSED:
            # It closed since it was looked at: the call may go through, and needs no probe.
            return True
        claimed = breaker.claim_probe(circuit, now, settings)
        if claimed is not None:
            _store(row, claimed)
        return claimed is not None


def report(ended: Iterable[tuple[UUID, UUID, str | None]], settings: BreakerSettings) -> None:
    """Account for calls that ended: the version's key, its agent, and the error's code or None.

    Successes of a circuit with nothing to its discredit write nothing, so a healthy agent costs one read. A version's
    share of failures is therefore taken over the calls since the first failure of its window.
    """
    outcomes: dict[UUID, Outcomes] = {}
    agent_ids: dict[UUID, UUID] = {}
    for key, agent_id, error_code in ended:
        one, sum_ = Outcomes.of(error_code), outcomes.get(key, Outcomes())
        outcomes[key] = Outcomes(
            sum_.successes + one.successes,
            sum_.failures + one.failures,
            sum_.tripping + one.tripping,
            sum_.neutral + one.neutral,
        )
        agent_ids[key] = agent_id
    if not outcomes:
        return
    with unit_of_work() as session:
        troubled = {row.id for row in gateway_queries.list_circuits(session) if _circuit(row) != Circuit()}
        noted = {key: agent_ids[key] for key, one in outcomes.items() if one.failures or key in troubled}
        rows = gateway_queries.lock_circuits(session, noted)
        now = gateway_queries.clock(session)
        changes = []
        for row in rows:
            before = _circuit(row)
            after = breaker.observe(before, outcomes[row.id], now, settings)
            _store(row, after)
            changes.append((row.id, before.state, after.state))
    _log(changes)


def _log(changes: Iterable[tuple[UUID, CircuitState, CircuitState]]) -> None:
    for key, before, after in changes:
        if before is not after:
            event = log_events.AGENT_CIRCUIT_OPENED if after is CircuitState.OPEN else log_events.AGENT_CIRCUIT_CLOSED
            log.warning(event, version_id=str(key), was=str(before))


def close(keys: Mapping[UUID, UUID]) -> None:
    """Close these circuits (with their agents) at once: somebody changed the key, the address or the application."""
    with unit_of_work() as session:
        for row in gateway_queries.lock_circuits(session, keys):
            _store(row, Circuit())


def set_by_hand(session: Session, key: UUID, agent_id: UUID, *, is_open: bool) -> CircuitState:
    """Open or close a circuit in the caller's transaction, which audits it; return the state it was in.

    An opened one behaves like one that failures opened: after its time it lets probes through, and closes when they succeed.
    """
    (row,) = gateway_queries.lock_circuits(session, {key: agent_id})
    before = _circuit(row)
    opened = Circuit(CircuitState.OPEN, opened_at=gateway_queries.clock(session), opened_times=before.opened_times + 1)
    _store(row, opened if is_open else Circuit())
    _log([(key, before.state, CircuitState(row.state))])
    return before.state


def _circuit(row: AgentCircuit | Row[Any]) -> Circuit:
    return Circuit(state=CircuitState(row.state), **{name: getattr(row, name) for name in _STORED})


def _store(row: AgentCircuit, circuit: Circuit) -> None:
    row.state = circuit.state
    for name in _STORED:
        setattr(row, name, getattr(circuit, name))
