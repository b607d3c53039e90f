"""Agents and the record of calls to them."""

from collections.abc import Sequence
from dataclasses import dataclass
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


_BEGIN = text("""
INSERT INTO agent_calls (id, journey_id, attempt, agent_id, started_at)
SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:journey_ids AS uuid[]), CAST(:attempts AS smallint[]), CAST(:agent_ids AS uuid[])),
              clock_timestamp()
""")


def begin_calls(session: Session, calls: Sequence[CallBegun]) -> None:
    """Record calls before they are made."""
    parameters = {
        "ids": [call.call_id for call in calls],
        "journey_ids": [call.journey_id for call in calls],
        "attempts": [call.attempt for call in calls],
        "agent_ids": [call.agent_id for call in calls],
    }
    session.execute(_BEGIN, parameters)


@dataclass(frozen=True, slots=True)
class CallEnded:
    call_id: UUID
    error_code: str | None
    error_text: str | None
    task_id: str | None
    usage: dict[str, Any] | None


_END = text("""
UPDATE agent_calls c
SET status = CASE WHEN e.error_code IS NULL THEN 'succeeded' ELSE 'failed' END, finished_at = clock_timestamp(),
    duration_ms = extract(epoch FROM clock_timestamp() - c.started_at) * 1000, error_code = e.error_code,
    error_text = e.error_text, task_id = e.task_id, usage = e.usage
FROM jsonb_to_recordset(:calls) AS e(call_id uuid, error_code text, error_text text, task_id text, usage jsonb)
WHERE c.id = e.call_id AND c.finished_at IS NULL
""").bindparams(bindparam("calls", type_=JSONB))


def end_calls(session: Session, calls: Sequence[CallEnded]) -> None:
    """Record how the calls ended. Idempotent: the first end counts."""
    rows = [
        {
            "call_id": str(call.call_id),
            "error_code": call.error_code,
            "error_text": call.error_text,
            "task_id": call.task_id,
            "usage": call.usage,
        }
        for call in calls
    ]
    session.execute(_END, {"calls": rows})
