"""Who is asked for a welcome, in which order: versions by weight, canaries, circuit breakers, the template last. Pure."""

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Strategy(StrEnum):
    """The automation's welcome strategy; the values are those of the settings."""

    AGENT_THEN_TEMPLATE = "agent_then_template"
    AGENT_ONLY = "agent_only"
    TEMPLATE_ONLY = "template_only"


class Gate(StrEnum):
    """What a circuit breaker says to the next call."""

    CLOSED = "closed"
    OPEN = "open"
    # Half-open with a probe to spare: one call may go through, if it is claimed first.
    PROBE = "probe"


class CandidateKind(StrEnum):
    AGENT = "agent"
    TEMPLATE = "template"


@dataclass(frozen=True, slots=True)
class AgentOption:
    """An agent as the decision sees it; lower positions are asked first."""

    id: UUID
    position: int
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class VersionOption:
    """A version of an agent. An agent without versions is its own only version: pass one with the agent's id."""

    id: UUID
    agent_id: UUID
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing to try. A probe must be claimed before the call, and skipped when the claim fails."""

    kind: CandidateKind
    agent_id: UUID | None = None
    version_id: UUID | None = None
    is_canary: bool = False
    is_probe: bool = False


TEMPLATE = Candidate(CandidateKind.TEMPLATE)


def candidates(
    agents: Collection[AgentOption],
    versions: Collection[VersionOption],
    weights: Mapping[UUID, float],
    canary: Mapping[UUID, float],
    breaker_states: Mapping[UUID, Gate],
    user_key: str,
    strategy: Strategy,
    *,
    busy: Collection[UUID] = (),
) -> tuple[Candidate, ...]:
    """Return what to try for this user, in order; the same for the same user while nothing changes.

    Per agent, by position: its canary version where the user falls in its percentage, then one other version, drawn by
    weight. `weights` is by version (missing: 100, 0: never), `canary` percent by version; a version named there is drawn in
    no other way. `breaker_states` is by version (missing: closed). Versions in `busy` are at their concurrency cap.
    The template comes last, except under `agent_only`, where the tuple may be empty.
    """
    ordered: list[Candidate] = []
    if strategy is not Strategy.TEMPLATE_ONLY:
        for agent in sorted(agents, key=lambda one: (one.position, one.id)):
            if agent.enabled:
                own = [one for one in versions if one.agent_id == agent.id and one.enabled]
                ordered += _of_agent(agent.id, own, weights, canary, breaker_states, user_key, busy)
    if strategy is not Strategy.AGENT_ONLY:
        ordered.append(TEMPLATE)
    return tuple(ordered)


def _of_agent(
    agent_id: UUID,
    versions: Iterable[VersionOption],
    weights: Mapping[UUID, float],
    canary: Mapping[UUID, float],
    breaker_states: Mapping[UUID, Gate],
    user_key: str,
    busy: Collection[UUID],
) -> list[Candidate]:
    def candidate(version_id: UUID, *, is_canary: bool) -> Candidate:
        is_probe = breaker_states.get(version_id) is Gate.PROBE
        return Candidate(CandidateKind.AGENT, agent_id, version_id, is_canary, is_probe)

    enabled = [one.id for one in versions]
    usable = [one for one in enabled if breaker_states.get(one) is not Gate.OPEN and one not in busy]
    drawn = _drawn_canary(agent_id, [one for one in enabled if one in canary], canary, user_key)
    chosen = [candidate(drawn, is_canary=True)] if drawn in usable and drawn is not None else []
    stable = [one for one in usable if one not in canary and weights.get(one, 100) > 0]
    by_draw = sorted(stable, key=lambda one: (-_score(one, weights.get(one, 100), user_key), one))
    for version_id in by_draw:
        chosen.append(candidate(version_id, is_canary=False))
        # A probe may find its budget spent by the time it is claimed, so somebody sound follows it.
        if not chosen[-1].is_probe:
            break
    return chosen


def _drawn_canary(
    agent_id: UUID, versions: Collection[UUID], canary: Mapping[UUID, float], user_key: str
) -> UUID | None:
    """Return the canary in whose stretch of users this one falls. An open circuit does not move the stretches."""
    place = _unit(f"canary:{agent_id}", user_key) * 100
    for version_id in sorted(versions):
        place -= canary[version_id]
        if place < 0:
            return version_id
    return None


def _score(version_id: UUID, weight: float, user_key: str) -> float:
    """Weighted rendezvous hashing: shares follow the weights, and a change moves only the users it must."""
    return weight / -math.log(_unit(f"version:{version_id}", user_key))


def _unit(salt: str, user_key: str) -> float:
    """Return a number above 0 and below 1, uniform over users, fixed for this user and salt on every machine."""
    digest = hashlib.blake2b(f"{salt}\x00{user_key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    # 53 bits fill a float's mantissa; the half keeps clear of 0 and 1.
    return ((int.from_bytes(digest, "big") >> 11) + 0.5) / (1 << 53)
