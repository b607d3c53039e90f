"""Agents, their versions, checks and statistics over HTTP."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from api_hooks.auth import Origin, require
from api_hooks.fields import Input, Moment, RequiredText
from api_hooks.responses import Envelope, Page
from core.clock import utc_now
from services import agent_check, agents_admin
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


class CheckIn(Input):
    """Which version to check; the agent as it is, if not said."""

    version_id: UUID | None = None


class CircuitIn(Input):
    """Whose circuit (the agent's own, if no version is said), and what it is to be."""

    version_id: UUID | None = None
    state: Literal["open", "closed"]


class PreviewIn(Input):
    """For whom the welcome is written, by the signup service's id or ours, and by which version."""

    customer: RequiredText
    version_id: UUID | None = None


class FindingOut(_FromRow):
    check: str = Field(description="info, mode, message or guard.")
    ok: bool
    detail: str
    code: str | None
    duration_ms: int | None


class CheckOut(_FromRow):
    """Findings in the order they were made; the first that is not ok ends them, and `error_code` repeats its code."""

    ok: bool
    latency_ms: int
    findings: list[FindingOut]
    name: str | None
    mode: str | None
    answer: str | None
    error_code: str | None
    error: str | None


class StatsOut(BaseModel):
    """Of one version, or of the agent where `version_id` is null. Shares are of calls that ended; null without any."""

    agent_id: UUID
    agent_name: str
    version_id: UUID | None
    version_number: int | None
    status: str | None
    circuit: str
    running: int
    journeys: int
    calls: int
    succeeded: int
    failed: int
    refused: int
    fallbacks: int
    fallback_rate: float | None
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
    rating_mean_low: float | None
    rating_mean_high: float | None


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


@router.delete("/{agent_id}", summary="Delete an agent with its key and versions")
def delete_agent(agent_id: UUID, who: Manager, origin: Origin) -> Envelope[None]:
    """Delete it: nobody is asked by it again, its name is free, and the record of its calls stays."""
    agents_admin.delete(agent_id, actor=who.actor, origin=origin)
    return Envelope(data=None, message="deleted")


@router.post("/{agent_id}/check", summary="Ask the provider who it is, and for one harmless message")
def check_agent(agent_id: UUID, who: Manager, origin: Origin, body: CheckIn | None = None) -> Envelope[CheckOut]:
    """Prove address, key, mode and answer, for no customer; `ok` false says why not. The message is a paid run."""
    version_id = body.version_id if body else None
    found = agents_admin.check(agent_id, version_id, actor=who.actor, origin=origin)
    return Envelope(data=CheckOut.model_validate(found))


@router.post("/{agent_id}/preview", summary="Have one customer's welcome written, and sent to nobody")
def preview_agent(agent_id: UUID, body: PreviewIn, who: Manager, origin: Origin) -> Envelope[CheckOut]:
    """Answer the welcome as the customer would read it; 404 for no such customer, 409 without a journey. A paid run."""
    found = agent_check.preview(agent_id, body.version_id, customer=body.customer, actor=who.actor, origin=origin)
    return Envelope(data=CheckOut.model_validate(found))


@router.post("/{agent_id}/circuit", summary="Open or close a circuit by hand")
def set_circuit(agent_id: UUID, body: CircuitIn, who: Manager, origin: Origin) -> Envelope[None]:
    """Closed, it is asked again at once; open, after the breaker's open time by a probe."""
    agents_admin.set_circuit(agent_id, body.version_id, is_open=body.state == "open", actor=who.actor, origin=origin)
    return Envelope(data=None, message=f"the circuit is {body.state}")


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
    """Set label, status (`active` promotes a canary, `retired` ends it), weight or canary percentage."""
    version = agents_admin.change_version(agent_id, version_id, changed, actor=who.actor, origin=origin)
    return Envelope(data=VersionOut.model_validate(version), message="changed")


def _stats(row: AgentFigures) -> StatsOut:
    figures = row.figures
    fields = {name: value for name, value in asdict(figures).items() if name in StatsOut.model_fields}
    bounds = figures.success_interval() if figures.finished else None
    liking = figures.rating_interval()
    rate = (figures.finished - figures.errors) / figures.finished if figures.finished else None
    return StatsOut(
        **fields
        | {
            "agent_id": row.agent_id,
            "agent_name": row.agent_name,
            "version_id": row.version_id,
            "version_number": row.version_number,
            "status": row.status,
            "circuit": row.circuit,
            "running": row.running,
            "fallback_rate": figures.fallbacks / figures.journeys if figures.journeys else None,
            "rating_mean_low": liking.low if liking else None,
            "rating_mean_high": liking.high if liking else None,
            "success_rate": rate,
            "success_rate_low": bounds.low if bounds else None,
            "success_rate_high": bounds.high if bounds else None,
        }
    )
