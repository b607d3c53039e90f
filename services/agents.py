"""The agents that may write a welcome, as a snapshot every process keeps current."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from clients.agents import AgentTarget
from core.crypto import decrypt
from core.snapshots import Snapshot
from queries import agents as agent_queries


@dataclass(frozen=True, slots=True)
class KnownAgent:
    id: UUID
    name: str
    target: AgentTarget


def _load(session: Session) -> tuple[KnownAgent, ...]:
    return tuple(
        KnownAgent(
            id=row.id,
            name=row.name,
            target=AgentTarget(
                provider=row.provider,
                base_url=row.base_url,
                api_key=decrypt(row.api_key_encrypted),
                mode=row.mode,
                timeout_seconds=row.timeout_ms / 1000,
            ),
        )
        for row in agent_queries.list_enabled(session)
    )


_snapshot = Snapshot("agents", _load)


def enabled() -> tuple[KnownAgent, ...]:
    """Return the enabled agents in the order they are asked."""
    return _snapshot.current()
