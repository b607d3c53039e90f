"""Agents, their versions, checks and statistics over HTTP."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict

from api_hooks.auth import Origin, require
from api_hooks.fields import Moment
from api_hooks.responses import Envelope, Page
from core.clock import utc_now
from services import agents_admin
from services.agents_admin import AgentChange, AgentFigures, NewAgent, NewVersion, VersionChange
from services.auth import Identity
from services.permissions import Permission

router = APIRouter(prefix="/agents", tags=["agents"])

Manager = Annotated[Identity, Depends(require(Permission.MANAGE_AGENTS))]
STATS_DAYS = 7


class _FromRow(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AgentOut(_FromRow):
    """An agent; its key is stored encrypted and never shown."""

    id: UUID
    name: str
    provider: str
    base_url: str
    app_id: str | None
    mode: str
    timeout_ms: int
    position: int
    enabled: bool
    created_at: datetime
    updated_at: datetime


class VersionOut(_FromRow):
    id: UUID
    agent_id: UUID
    number: int
    label: str
    status: str
    weight: int
    canary_percent: int
    app_id: str | None
    mode: str | None
    timeout_ms: int | None
    instruction: str | None
    status_reason: str | None
    status_changed_at: datetime
    created_by: str
    created_at: datetime


class CheckOut(_FromRow):
    ok: bool
    latency_ms: int
    name: str | None
    mode: str | None
    error_code: str | None
    error: str | None


class StatsOut(BaseModel):
    """Of one version, or of the agent where `version_id` is null. Shares are of calls that ended; null without any."""

    agent_id: UUID
    agent_name: str
    version_id: UUID | None
    version_number: int | None
    circuit: str
    calls: int
    succeeded: int
    failed: int
    refused: int
    fallbacks: int
    success_rate: float | None
    success_rate_low: float | None
    success_rate_high: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    total_tokens: int
    total_price: float
    ratings: int
    rating_mean: float | None


@router.get("", summary="List agents in the order they are asked")
def list_agents(_: Manager) -> Envelope[Page[AgentOut]]:
    """Answer all agents, disabled ones included."""
    return Envelope(data=Page(items=[AgentOut.model_validate(agent) for agent in agents_admin.listed()]))


@router.post("", status_code=201, summary="Add an agent")
def create_agent(new: NewAgent, who: Manager, origin: Origin) -> Envelope[AgentOut]:
    """Add an agent; every process may ask it at once."""
    agent = agents_admin.create(new, actor=who.actor, origin=origin)
    return Envelope(data=AgentOut.model_validate(agent), message="created")


@router.get("/stats", summary="What agents and versions came to")
def get_stats(
    _: Manager,
    since: Annotated[Moment | None, Query(alias="from", description="A week ago, if not said.")] = None,
) -> Envelope[Page[StatsOut]]:
    """Answer calls, success with its 95 % bounds, latency, cost, ratings and circuit, by version."""
    rows = agents_admin.statistics(since=since or utc_now() - timedelta(days=STATS_DAYS))
    return Envelope(data=Page(items=[_stats(row) for row in rows]))


@router.patch("/{agent_id}", summary="Change an agent")
def change_agent(agent_id: UUID, changed: AgentChange, who: Manager, origin: Origin) -> Envelope[AgentOut]:
    """Set the given fields; in force in every process at once."""
    agent = agents_admin.change(agent_id, changed, actor=who.actor, origin=origin)
    return Envelope(data=AgentOut.model_validate(agent), message="changed")


@router.delete("/{agent_id}", summary="Delete an agent that was never called")
def delete_agent(agent_id: UUID, who: Manager, origin: Origin) -> Envelope[None]:
    """Delete it; 409 AGENT_HAS_CALLS where calls are on record: such an agent is disabled instead."""
    agents_admin.delete(agent_id, actor=who.actor, origin=origin)
    return Envelope(data=None, message="deleted")


@router.post("/{agent_id}/check", summary="Ask the provider who it is")
def check_agent(agent_id: UUID, _: Manager) -> Envelope[CheckOut]:
    """Prove address, key and mode without a paid run; `ok` false says why not."""
    return Envelope(data=CheckOut.model_validate(agents_admin.check(agent_id)))


@router.get("/{agent_id}/versions", summary="List an agent's versions, newest first")
def list_versions(agent_id: UUID, _: Manager) -> Envelope[Page[VersionOut]]:
    """Answer versions with how often they are drawn."""
    found = agents_admin.versions(agent_id)
    return Envelope(data=Page(items=[VersionOut.model_validate(version) for version in found]))


@router.post("/{agent_id}/versions", status_code=201, summary="Add a version")
def create_version(agent_id: UUID, new: NewVersion, who: Manager, origin: Origin) -> Envelope[VersionOut]:
    """Add a version, drawn by its weight, or as a canary by its percentage."""
    version = agents_admin.create_version(agent_id, new, actor=who.actor, origin=origin)
    return Envelope(data=VersionOut.model_validate(version), message="created")


@router.patch("/{agent_id}/versions/{version_id}", summary="Change how often a version is drawn")
def change_version(
    agent_id: UUID, version_id: UUID, changed: VersionChange, who: Manager, origin: Origin
) -> Envelope[VersionOut]:
    """Set label, status, weight or canary percentage."""
    version = agents_admin.change_version(agent_id, version_id, changed, actor=who.actor, origin=origin)
    return Envelope(data=VersionOut.model_validate(version), message="changed")


def _stats(row: AgentFigures) -> StatsOut:
    figures = row.figures
    fields = {name: value for name, value in asdict(figures).items() if name in StatsOut.model_fields}
    bounds = figures.success_interval() if figures.finished else None
    rate = (figures.finished - figures.errors) / figures.finished if figures.finished else None
    return StatsOut(
        **fields
        | {
            "agent_id": row.agent_id,
            "agent_name": row.agent_name,
            "version_id": row.version_id,
            "version_number": row.version_number,
            "circuit": row.circuit,
            "success_rate": rate,
            "success_rate_low": bounds.low if bounds else None,
            "success_rate_high": bounds.high if bounds else None,
        }
    )
