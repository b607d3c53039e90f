"""Agents and the record of calls to them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

from core.database import Statements
from core.errors import NotFoundError
from models import Agent, AgentCall, AgentVersion


def list_enabled(session: Session) -> list[Agent]:
    """Return the enabled agents, first choice first."""
    return list(session.scalars(select(Agent).where(Agent.enabled).order_by(Agent.position, Agent.name)))


@dataclass(frozen=True, slots=True)
class CallBegun:
    call_id: UUID
    journey_id: UUID
    attempt: int
    agent_id: UUID
    version_id: UUID | None


_BEGIN = text("""
INSERT INTO agent_calls (id, journey_id, attempt, agent_id, version_id, started_at)
SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:journey_ids AS uuid[]), CAST(:attempts AS smallint[]), CAST(:agent_ids AS uuid[]),
                     CAST(:version_ids AS uuid[])),
              clock_timestamp()
""")


def begin_calls(session: Statements, calls: Sequence[CallBegun]) -> None:
    """Record calls before they are made."""
    parameters = {
        "ids": [call.call_id for call in calls],
        "journey_ids": [call.journey_id for call in calls],
        "attempts": [call.attempt for call in calls],
        "agent_ids": [call.agent_id for call in calls],
        "version_ids": [call.version_id for call in calls],
    }
    session.execute(_BEGIN, parameters)


@dataclass(frozen=True, slots=True)
class CallEnded:
    """How one call ended: with an error's code and text, or with an answer, which the guard may have refused."""

    call_id: UUID
    error_code: str | None = None
    error_text: str | None = None
    task_id: str | None = None
    usage: dict[str, Any] | None = None
    first_token_ms: int | None = None
    provider_message_id: str | None = None
    refusal: str | None = None
    refused_answer: str | None = None


_ENDED = [one.name for one in fields(CallEnded)]
_END = text("""
UPDATE agent_calls c
SET status = CASE WHEN e.error_code IS NULL THEN 'succeeded' ELSE 'failed' END, finished_at = clock_timestamp(),
    duration_ms = extract(epoch FROM clock_timestamp() - c.started_at) * 1000, error_code = e.error_code,
    error_text = e.error_text, task_id = e.task_id, usage = e.usage, first_token_ms = e.first_token_ms,
    provider_message_id = e.provider_message_id, refusal = e.refusal, refused_answer = e.refused_answer
FROM jsonb_to_recordset(:calls) AS e(
    call_id uuid, error_code text, error_text text, task_id text, usage jsonb, first_token_ms integer,
    provider_message_id text, refusal text, refused_answer text)
-- The keys once more, as a list: joined to rows of unknown number, a young table would be read whole.
WHERE c.id = ANY(:call_ids) AND c.id = e.call_id AND c.finished_at IS NULL
""").bindparams(bindparam("calls", type_=JSONB))


def end_calls(session: Statements, calls: Sequence[CallEnded]) -> None:
    """Record how the calls ended. Idempotent: the first end counts."""
    rows = [{name: getattr(call, name) for name in _ENDED} | {"call_id": str(call.call_id)} for call in calls]
    session.execute(_END, {"calls": rows, "call_ids": [call.call_id for call in calls]})


def list_agents(session: Session) -> list[Agent]:
    """Return all agents in the order they are asked, disabled ones included."""
    present = select(Agent).where(Agent.deleted_at.is_(None))
    return list(session.scalars(present.order_by(Agent.position, Agent.name)))


def get_agent(session: Session, agent_id: UUID) -> Agent:
    """Return the agent; raise NotFoundError."""
    found = session.get(Agent, agent_id)
    if found is None or found.deleted_at is not None:
        raise NotFoundError("no such agent", code="AGENT_NOT_FOUND")
    return found


def lock_agent(session: Session, agent_id: UUID) -> Agent:
    """Return the agent, its row locked until the transaction ends; raise NotFoundError."""
    present = select(Agent).where(Agent.id == agent_id, Agent.deleted_at.is_(None))
    found = session.scalars(present.with_for_update()).one_or_none()
    if found is None:
        raise NotFoundError("no such agent", code="AGENT_NOT_FOUND")
    return found


def was_called(session: Session, agent_id: UUID) -> bool:
    """Tell whether any call to the agent is on record (index ix_agent_calls_agent_id_started_at)."""
    return session.scalar(select(AgentCall.id).where(AgentCall.agent_id == agent_id).limit(1)) is not None


def list_versions_of(session: Session, agent_id: UUID) -> list[AgentVersion]:
    """Return the agent's versions, newest first."""
    return list(
        session.scalars(
            select(AgentVersion).where(AgentVersion.agent_id == agent_id).order_by(AgentVersion.number.desc())
        )
    )


def last_version_number(session: Session, agent_id: UUID) -> int:
    """Return the highest number of the agent's versions, 0 for none."""
    return session.scalar(select(func.max(AgentVersion.number)).where(AgentVersion.agent_id == agent_id)) or 0


def lock_version_of(session: Session, agent_id: UUID, version_id: UUID) -> AgentVersion:
    """Return a version of the agent, its row locked until the transaction ends; raise NotFoundError."""
    found = session.scalars(
        select(AgentVersion).where(AgentVersion.id == version_id, AgentVersion.agent_id == agent_id).with_for_update()
    ).one_or_none()
    if found is None:
        raise NotFoundError("no such version of this agent", code="AGENT_VERSION_NOT_FOUND")
    return found
