"""The agents that may write a welcome, as a snapshot every process keeps current, and who of them is asked for whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy.orm import Session

from clients.agents import AgentTarget
from core.crypto import decrypt
from core.database import Statements, unit_of_work
from core.snapshots import Snapshot
from models import Agent, AgentVersion, VersionStatus
from queries import agents as agent_queries
from queries import gateway as gateway_queries
from services import circuits
from services.gateway.decision import AgentOption, CandidateKind, Gate, Strategy, VersionOption, candidates
from services.gateway.settings import GatewaySettings

# Calls older than this belong to processes that died: none lasts longer.
RUNNING_WITHIN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """One way of asking one agent. `key` names it to circuits and figures: the version's id, or the agent's without one."""

    key: UUID
    agent_id: UUID
    version_id: UUID | None
    name: str
    target: AgentTarget
    instruction: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A version to ask; a probe of a half-open circuit has to be claimed first."""

    version: KnownVersion
    is_probe: bool


@dataclass(frozen=True, slots=True)
class Directory:
    """All enabled agents with their versions, as the decision takes them."""

    agents: tuple[AgentOption, ...]
    versions: tuple[VersionOption, ...]
    weights: Mapping[UUID, float]
    canary: Mapping[UUID, float]
    known: Mapping[UUID, KnownVersion]

    def in_use(self) -> list[UUID]:
        """Return the versions that get any share of the customers."""
        return [one for one in self.known if self.weights.get(one, 1.0) > 0 or self.canary.get(one, 0.0) > 0]


@dataclass(frozen=True, slots=True)
class Situation:
    """The directory with what changes by the second: circuits, and who is at the concurrency cap."""

    directory: Directory
    gates: Mapping[UUID, Gate]
    busy: frozenset[UUID]
    # Calls that were open when it was looked at, by version, in all processes.
    running: Mapping[UUID, int] = field(default_factory=dict)

    def order(self, user_id: UUID, strategy: Strategy) -> list[Choice]:
        """Return whom to ask for this user, first choice first; the template is not among them."""
        chosen = candidates(
            self.directory.agents,
            self.directory.versions,
            self.directory.weights,
            self.directory.canary,
            self.gates,
            str(user_id),
            strategy,
            busy=self.busy,
        )
        return [
            Choice(self.directory.known[one.version_id], one.is_probe)
            for one in chosen
            if one.kind is CandidateKind.AGENT and one.version_id is not None
        ]


def directory() -> Directory:
    """Return all enabled agents as this process knows them now."""
    return _snapshot.current()


def situation(session: Statements, known: Directory, settings: GatewaySettings) -> Situation:
    """Look at circuits and open calls now, once for all journeys of a message."""
    running = gateway_queries.count_running(session, within_seconds=RUNNING_WITHIN_SECONDS)
    busy = frozenset(key for key, calls in running.items() if calls >= settings.max_concurrent_calls)
    return Situation(known, circuits.read_gates(session, settings.breaker), busy, running)


def find_known(agent_id: UUID, version_id: UUID | None) -> KnownVersion | None:
    """Return how this version is asked, also one no longer in use; None when it or its agent is gone.

    Raises UndecryptableError when its key was stored under another secret key.
    """
    with unit_of_work() as session:
        agent = session.get(Agent, agent_id)
        version = session.get(AgentVersion, version_id) if version_id is not None else None
    if agent is None or agent.deleted_at is not None:
        return None
    if version_id is None:
        return _of_agent(agent)
    return _of_version(agent, version) if version is not None and version.agent_id == agent_id else None


def _load(session: Session) -> Directory:
    agents = agent_queries.list_enabled(session)
    in_use = gateway_queries.list_versions(session, statuses=[VersionStatus.ACTIVE, VersionStatus.CANARY])
    known: dict[UUID, KnownVersion] = {}
    for agent in agents:
        own = [version for version in in_use if version.agent_id == agent.id]
        for one in [_of_version(agent, version) for version in own]:
            known[one.key] = one
        if not any(version.status == VersionStatus.ACTIVE for version in own):
            # Beside a canary alone, the agent as it is goes on serving everybody else.
            known[agent.id] = _of_agent(agent)
    return Directory(
        agents=tuple(AgentOption(agent.id, agent.position) for agent in agents),
        versions=tuple(VersionOption(one.key, one.agent_id) for one in known.values()),
        weights={version.id: float(version.weight) for version in in_use},
        canary={one.id: float(one.canary_percent) for one in in_use if one.status == VersionStatus.CANARY},
        known=known,
    )


def _of_agent(agent: Agent) -> KnownVersion:
    target = AgentTarget(
        provider=agent.provider,
        base_url=agent.base_url,
        api_key=decrypt(agent.api_key_encrypted),
        mode=agent.mode,
        timeout_seconds=agent.timeout_ms / 1000,
        model=agent.app_id or "",
    )
    return KnownVersion(agent.id, agent.id, None, agent.name, target, None)


def _of_version(agent: Agent, version: AgentVersion) -> KnownVersion:
    base = _of_agent(agent)
    target = replace(
        base.target,
        api_key=decrypt(version.api_key_encrypted) if version.api_key_encrypted else base.target.api_key,
        mode=version.mode or base.target.mode,
        timeout_seconds=version.timeout_ms / 1000 if version.timeout_ms else base.target.timeout_seconds,
        model=version.app_id or base.target.model,
    )
    return KnownVersion(version.id, agent.id, version.id, agent.name, target, version.instruction)


_snapshot = Snapshot("agents", _load)


def reload() -> None:
    """Have this process follow a change before its maker is answered; the others hear of it by themselves."""
    _snapshot.reload()


def known() -> tuple[KnownVersion, ...]:
    """Return every enabled version of every enabled agent."""
    return tuple(_snapshot.current().known.values())
