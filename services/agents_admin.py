"""Agents and their versions as an administrator sets them: every change is audited, in force at once, and shows no key."""

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from clients import agents as agent_clients
from clients.agents import AgentInfo, AgentTarget
from core.clock import utc_now
from core.crypto import decrypt, encrypt
from core.database import unit_of_work
from core.errors import AnmeiError, ConflictError
from core.ids import new_id
from models import Agent, AgentCircuit, AgentVersion
from queries import agents as queries
from queries import gateway as gateway_queries
from services import agent_outcomes, audit
from services.gateway.statistics import VersionFigures

# A provider that takes longer to say who it is will not write a welcome in time either.
CHECK_SECONDS = 10.0

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
class Check:
    """What a provider said when asked who it is."""

    ok: bool
    latency_ms: int
    name: str | None = None
    mode: str | None = None
    error_code: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AgentFigures:
    """What one version (an agent's id where it has none) came to, and its circuit."""

    agent_id: UUID
    agent_name: str
    version_id: UUID | None
    version_number: int | None
    circuit: str
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
    return agent


def change(agent_id: UUID, changed: AgentChange, *, actor: str, origin: str | None = None) -> Agent:
    """Set the given fields; raise NotFoundError, ConflictError when the name is taken."""
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
    except IntegrityError:
        raise ConflictError("an agent of this name exists already", code="AGENT_EXISTS") from None
    return agent


def delete(agent_id: UUID, *, actor: str, origin: str | None = None) -> None:
    """Delete an agent nobody ever called; ConflictError for others: their calls name them, so they are disabled instead."""
    with unit_of_work() as session:
        agent = queries.lock_agent(session, agent_id)
        if queries.was_called(session, agent_id):
            raise ConflictError("the record of calls names this agent: disable it instead", code="AGENT_HAS_CALLS")
        _audit(session, "agent.delete", agent, actor, origin, before=_described(agent))
        session.flush()
        session.delete(agent)


def check(agent_id: UUID) -> Check:
    """Ask the provider what the key belongs to: proves address, key and mode without a paid run. Raises NotFoundError."""
    with unit_of_work() as session:
        agent = queries.get_agent(session, agent_id)
    target = AgentTarget(
        provider=agent.provider,
        base_url=agent.base_url,
        api_key=decrypt(agent.api_key_encrypted),
        mode=agent.mode,
        timeout_seconds=min(CHECK_SECONDS, agent.timeout_ms / 1000),
    )
    started = utc_now()
    try:
        found = _wait(agent_clients.info(target))
    except AnmeiError as error:
        return Check(False, _since_ms(started), error_code=error.code, error=error.message)
    return Check(True, _since_ms(started), name=found.name, mode=found.mode)


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
        _audit(session, "agent.version_create", agent, actor, origin, after={"number": number} | values)
        session.flush()
        session.refresh(version)
    return version


def change_version(
    agent_id: UUID, version_id: UUID, changed: VersionChange, *, actor: str, origin: str | None = None
) -> AgentVersion:
    """Set the given fields of a version; raise NotFoundError. One that was taken back comes back by naming its status."""
    values = changed.model_dump(include=changed.model_fields_set)
    with unit_of_work() as session:
        agent = queries.get_agent(session, agent_id)
        version = queries.lock_version_of(session, agent_id, version_id)
        before = {name: getattr(version, name) for name in values}
        for name, value in values.items():
            setattr(version, name, value)
        if "status" in values:
            version.status_reason, version.status_changed_at = f"set by {actor}", utc_now()
        numbered = {"number": version.number}
        _audit(session, "agent.version_change", agent, actor, origin, before=numbered | before, after=numbered | values)
    return version


def statistics(*, since: datetime) -> list[AgentFigures]:
    """Return what every agent and version came to in calls begun since then; those never called show zeros."""
    with unit_of_work() as session:
        agents = queries.list_agents(session)
        stored = gateway_queries.list_versions(session)
        figures = agent_outcomes.figures(session, since=since)
        circuits = {row.id: row for row in gateway_queries.list_circuits(session)}
    found = []
    for agent in agents:
        of_agent = [version for version in stored if version.agent_id == agent.id]
        if not of_agent or agent.id in figures:
            found.append(_figures(agent, None, figures, circuits))
        found += [_figures(agent, version, figures, circuits) for version in of_agent]
    return found


def _figures(
    agent: Agent,
    version: AgentVersion | None,
    figures: dict[UUID, VersionFigures],
    circuits: dict[UUID, AgentCircuit],
) -> AgentFigures:
    key = version.id if version else agent.id
    return AgentFigures(
        agent_id=agent.id,
        agent_name=agent.name,
        version_id=version.id if version else None,
        version_number=version.number if version else None,
        circuit=circuits[key].state if key in circuits else "closed",
        figures=figures.get(key, VersionFigures(key)),
    )


def _wait(asked: "Future[AgentInfo]") -> AgentInfo:
    try:
        return asked.result(CHECK_SECONDS + 1)
    except FutureTimeoutError:
        asked.cancel()
        raise AnmeiError(f"no answer within {CHECK_SECONDS:g} s", code="AGENT_TIMEOUT") from None


def _since_ms(started: datetime) -> int:
    return int((utc_now() - started).total_seconds() * 1000)


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
