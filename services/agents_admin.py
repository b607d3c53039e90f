"""Agents and their versions as an administrator sets them: every change is audited, in force at once, and shows no key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.clock import utc_now
from core.crypto import encrypt
from core.database import unit_of_work
from core.errors import ConflictError, InvalidInputError
from core.ids import new_id
from models import Agent, AgentVersion, VersionStatus
from queries import agents as queries
from queries import gateway as gateway_queries
from services import agent_outcomes, agents, audit, automation, circuits
from services.agent_check import Check as Check
from services.agent_check import check as check
from services.gateway.decision import Gate
from services.gateway.statistics import VersionFigures
from services.kept import Kept

# What somebody changed to repair an agent: its circuit need not wait to find out.
REPAIRS = frozenset({"provider", "base_url", "app_id", "api_key_encrypted", "mode"})
FIGURES_FRESH_SECONDS = 3.0
# A page waits so long for figures nobody has collected yet.
PATIENCE_SECONDS = 0.4
IN_USE = frozenset({VersionStatus.ACTIVE, VersionStatus.CANARY})
# What a circuit says to the next call, as an operator reads it.
CIRCUITS = {Gate.CLOSED: "closed", Gate.PROBE: "half_open", Gate.OPEN: "open"}

_URL: TypeAdapter[AnyHttpUrl] = TypeAdapter(AnyHttpUrl)


def _http_url(value: str) -> str:
    _URL.validate_python(value)
    return value.rstrip("/")


Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,100}$")]
Url = Annotated[str, Field(max_length=500), AfterValidator(_http_url)]
Key = Annotated[SecretStr, Field(min_length=1, max_length=500)]
Line = Annotated[str, Field(pattern=r"^[^\x00]{0,200}$")]
Mode = Literal["agent", "new-agent", "chat", "chatflow", "workflow", "completion"]
TimeoutMs = Annotated[int, Field(ge=500, le=600_000)]


class AgentChange(BaseModel):
    """The fields of an agent an administrator may set; on a change, only those given are touched."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    provider: Literal["dify", "openai_compatible"] = "dify"
    base_url: Url | None = None
    app_id: Line | None = None
    api_key: Key | None = None
    mode: Mode = "agent"
    timeout_ms: TimeoutMs = 60_000
    # Agents are asked in this order, the smallest first.
    position: Annotated[int, Field(ge=0, le=1000)] = 0
    enabled: bool = True


class NewAgent(AgentChange):
    name: Name
    base_url: Url
    api_key: Key


class VersionChange(BaseModel):
    """The fields of a version that may be set later: how often it is drawn, and whether at all."""

    model_config = ConfigDict(extra="forbid")

    label: Line = ""
    status: Literal["active", "canary", "retired"] = "active"
    weight: Annotated[int, Field(ge=0, le=1000)] = 100
    canary_percent: Annotated[int, Field(ge=0, le=100)] = 0


class NewVersion(VersionChange):
    """What is left out is the agent's own."""

    app_id: Line | None = None
    api_key: Key | None = None
    mode: Mode | None = None
    timeout_ms: TimeoutMs | None = None
    instruction: Annotated[str, Field(pattern=r"^[^\x00]*$", min_length=1, max_length=8000)] | None = None


@dataclass(frozen=True, slots=True)
class AgentFigures:
    """What one version (an agent's id where it has none) came to, and its circuit."""

    agent_id: UUID
    agent_name: str
    version_id: UUID | None
    version_number: int | None
    status: str | None
    circuit: str
    running: int
    figures: VersionFigures


def listed() -> Sequence[Agent]:
    """Return all agents in the order they are asked, disabled ones included."""
    with unit_of_work() as session:
        return queries.list_agents(session)


def create(new: NewAgent, *, actor: str, origin: str | None = None) -> Agent:
    """Create an agent; raise ConflictError when the name is taken."""
    values = new.model_dump(exclude={"api_key"})
    agent = Agent(id=new_id(), api_key_encrypted=encrypt(new.api_key), **values)
    try:
        with unit_of_work() as session:
            session.add(agent)
            session.flush()
            _audit(session, "agent.create", agent, actor, origin, after=_described(agent))
            session.refresh(agent)
    except IntegrityError:
        raise ConflictError(f"an agent named {new.name!r} exists already", code="AGENT_EXISTS") from None
    agents.reload()
    return agent


def change(agent_id: UUID, changed: AgentChange, *, actor: str, origin: str | None = None) -> Agent:
    """Set the given fields; raise NotFoundError, ConflictError when the name is taken.

    A new key, address or application closes the circuits of the agent and its versions: what failed may work now.
    """
    values = changed.model_dump(include=changed.model_fields_set, exclude={"api_key"})
    if changed.api_key is not None:
        values["api_key_encrypted"] = encrypt(changed.api_key)
    # Leaving a required field out keeps it; naming it without a value does too.
    values = {name: value for name, value in values.items() if value is not None or name == "app_id"}
    try:
        with unit_of_work() as session:
            agent = queries.lock_agent(session, agent_id)
            before = _described(agent)
            for name, value in values.items():
                setattr(agent, name, value)
            agent.updated_at = utc_now()
            after = _described(agent) | ({"api_key": "changed"} if changed.api_key is not None else {})
            _audit(session, "agent.change", agent, actor, origin, before=before, after=after)
            session.flush()
            concerned = [agent_id, *(one.id for one in queries.list_versions_of(session, agent_id))]
    except IntegrityError:
        raise ConflictError("an agent of this name exists already", code="AGENT_EXISTS") from None
    if REPAIRS & values.keys():
        circuits.close(dict.fromkeys(concerned, agent_id))
    agents.reload()
    return agent


def delete(agent_id: UUID, *, actor: str, origin: str | None = None) -> None:
    """Delete the agent with its keys and versions; raise NotFoundError.

    The record of calls goes on naming an agent that was called: its row stays, out of sight, without a key, its name free.
    """
    with unit_of_work() as session:
        agent = queries.lock_agent(session, agent_id)
        _audit(session, "agent.delete", agent, actor, origin, before=_described(agent))
        if queries.was_called(session, agent_id):
            _bury(session, agent)
        else:
            session.flush()
            session.delete(agent)
    agents.reload()


def _bury(session: Session, agent: Agent) -> None:
    agent.name = f"{agent.name} ({str(agent.id)[-8:]})"
    agent.enabled = False
    agent.api_key_encrypted = encrypt(SecretStr(""))
    agent.deleted_at = agent.updated_at = utc_now()
    for version in queries.list_versions_of(session, agent.id):
        version.api_key_encrypted = None
        if version.status in IN_USE:
            version.status, version.canary_percent = VersionStatus.RETIRED, 0
            version.status_reason, version.status_changed_at = "the agent was deleted", utc_now()
    gateway_queries.delete_circuits(session, agent.id)


def versions(agent_id: UUID) -> Sequence[AgentVersion]:
    """Return an agent's versions, newest first; raise NotFoundError."""
    with unit_of_work() as session:
        queries.get_agent(session, agent_id)
        return queries.list_versions_of(session, agent_id)


def create_version(agent_id: UUID, new: NewVersion, *, actor: str, origin: str | None = None) -> AgentVersion:
    """Add a version, numbered after the last; raise NotFoundError."""
    values = new.model_dump(exclude={"api_key"})
    with unit_of_work() as session:
        agent = queries.lock_agent(session, agent_id)
        number = queries.last_version_number(session, agent_id) + 1
        version = AgentVersion(id=new_id(), agent_id=agent_id, number=number, created_by=actor, **values)
        version.api_key_encrypted = encrypt(new.api_key) if new.api_key is not None else None
        session.add(version)
        session.flush()
        _check_canaries(session, agent_id, version)
        noted = {"number": number} | values | ({"api_key": "set"} if new.api_key is not None else {})
        _audit(session, "agent.version_create", agent, actor, origin, after=noted)
        session.refresh(version)
    agents.reload()
    return version


def change_version(
    agent_id: UUID, version_id: UUID, changed: VersionChange, *, actor: str, origin: str | None = None
) -> AgentVersion:
    """Set the given fields of a version: promote a canary by `active`, retire it, or have one taken back try again.

    Raises NotFoundError, and InvalidInputError for canaries that would leave no customers to the others. A version that
    comes back into use begins with a closed circuit and is judged anew.
    """
    values = changed.model_dump(include=changed.model_fields_set)
    with unit_of_work() as session:
        # The agent's lock keeps two changes from passing the canaries' bound together.
        agent = queries.lock_agent(session, agent_id)
        version = queries.lock_version_of(session, agent_id, version_id)
        before = {name: getattr(version, name) for name in values}
        was = version.status
        for name, value in values.items():
            setattr(version, name, value)
        if version.status != was:
            version.status_reason, version.status_changed_at = f"set by {actor}", gateway_queries.clock(session)
        if version.status != VersionStatus.CANARY:
            version.canary_percent = 0
        _check_canaries(session, agent_id, version)
        numbered = {"number": version.number}
        _audit(session, "agent.version_change", agent, actor, origin, before=numbered | before, after=numbered | values)
    if version.status != was and version.status in IN_USE:
        circuits.close({version_id: agent_id})
    agents.reload()
    return version


def set_circuit(
    agent_id: UUID, version_id: UUID | None, *, is_open: bool, actor: str, origin: str | None = None
) -> None:
    """Open or close a version's circuit by hand (the agent's own without one); raise NotFoundError.

    Opened, it is not asked until the breaker's open time is over and probes succeed: to take an agent out of use for longer,
    disable it.
    """
    with unit_of_work() as session:
        agent = queries.lock_agent(session, agent_id)
        number = queries.lock_version_of(session, agent_id, version_id).number if version_id is not None else None
        was = circuits.set_by_hand(session, version_id or agent_id, agent_id, is_open=is_open)
        _audit(
            session,
            "agent.circuit",
            agent,
            actor,
            origin,
            before={"version": number, "circuit": str(was)},
            after={"version": number, "circuit": "open" if is_open else "closed"},
        )


def _check_canaries(session: Session, agent_id: UUID, version: AgentVersion) -> None:
    if version.status != VersionStatus.CANARY:
        return
    if version.canary_percent < 1:
        raise InvalidInputError("canary_percent: a canary needs at least 1")
    others = [one for one in queries.list_versions_of(session, agent_id) if one.id != version.id]
    together = version.canary_percent + sum(one.canary_percent for one in others if one.status == VersionStatus.CANARY)
    if together > 100:
        raise InvalidInputError(f"canary_percent: the agent's canaries would have {together} % of its customers")


def statistics(*, since: datetime) -> list[AgentFigures]:
    """Return what every agent and version came to in calls begun since then; those never called show zeros."""
    with unit_of_work() as session:
        figures = agent_outcomes.figures(session, since=since)
    return _statistics(figures)


def recent(*, days: int) -> list[AgentFigures] | None:
    """Like `statistics` of the last days, with figures of calls that may be some seconds old (services.kept); circuits never.

    None while nobody has collected them yet: they are, and a later call has them.
    """
    figures = _recent.find(days, patience_seconds=PATIENCE_SECONDS)
    return _statistics(figures) if figures is not None else None


def standing() -> list[AgentFigures]:
    """Return every agent and version with its circuit as it is, and no figures of calls: there at once."""
    return _statistics({})


def forget() -> None:
    """Collect anew at the next `recent`. For tests, which change the record behind its back."""
    _recent.forget()


def _figures_of_days(days: int) -> dict[UUID, VersionFigures]:
    with unit_of_work() as session:
        return agent_outcomes.figures(session, since=utc_now() - timedelta(days=days))


_recent: Kept[int, dict[UUID, VersionFigures]] = Kept(_figures_of_days, lambda _: FIGURES_FRESH_SECONDS)


def _statistics(figures: dict[UUID, VersionFigures]) -> list[AgentFigures]:
    gates = circuits.gates(automation.current().gateway.breaker)
    with unit_of_work() as session:
        present = queries.list_agents(session)
        stored = gateway_queries.list_versions(session)
        running = gateway_queries.count_running(session, within_seconds=agents.RUNNING_WITHIN_SECONDS)

    def of(agent: Agent, version: AgentVersion | None) -> AgentFigures:
        key = version.id if version else agent.id
        return AgentFigures(
            agent_id=agent.id,
            agent_name=agent.name,
            version_id=version.id if version else None,
            version_number=version.number if version else None,
            status=version.status if version else None,
            circuit=CIRCUITS[gates.get(key, Gate.CLOSED)],
            running=running.get(key, 0),
            figures=figures.get(key, VersionFigures(key)),
        )

    found = []
    for agent in present:
        of_agent = [version for version in stored if version.agent_id == agent.id]
        # Without an active version, the agent as it is serves.
        if agent.id in figures or not any(one.status == VersionStatus.ACTIVE for one in of_agent):
            found.append(of(agent, None))
        found += [of(agent, version) for version in of_agent]
    return found


def _described(agent: Agent) -> dict[str, Any]:
    names = ("name", "provider", "base_url", "app_id", "mode", "timeout_ms", "position", "enabled")
    return {name: getattr(agent, name) for name in names}


def _audit(
    session: Session,
    action: str,
    agent: Agent,
    actor: str,
    origin: str | None,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    audit.record(
        session, actor=actor, action=action, subject=f"agent:{agent.id}", before=before, after=after, origin=origin
    )
