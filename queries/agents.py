"""Agents and the record of calls to them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

from models import Agent


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


def begin_calls(session: Session, calls: Sequence[CallBegun]) -> None:
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


_END = text("""
UPDATE agent_calls c
SET status = CASE WHEN e.error_code IS NULL THEN 'succeeded' ELSE 'failed' END, finished_at = clock_timestamp(),
    duration_ms = extract(epoch FROM clock_timestamp() - c.started_at) * 1000, error_code = e.error_code,
    error_text = e.error_text, task_id = e.task_id, usage = e.usage, first_token_ms = e.first_token_ms,
    provider_message_id = e.provider_message_id, refusal = e.refusal, refused_answer = e.refused_answer
FROM jsonb_to_recordset(:calls) AS e(
    call_id uuid, error_code text, error_text text, task_id text, usage jsonb, first_token_ms integer,
    provider_message_id text, refusal text, refused_answer text)
WHERE c.id = e.call_id AND c.finished_at IS NULL
""").bindparams(bindparam("calls", type_=JSONB))


def end_calls(session: Session, calls: Sequence[CallEnded]) -> None:
    """Record how the calls ended. Idempotent: the first end counts."""
    session.execute(_END, {"calls": [{**asdict(call), "call_id": str(call.call_id)} for call in calls]})
