"""The panel's figures over HTTP, in the shapes of requirements A6.4."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from api_hooks.auth import require
from api_hooks.responses import Envelope
from services import panel
from services.auth import Identity
from services.dashboard import Window
from services.permissions import Permission

router = APIRouter(tags=["figures"])

Watcher = Annotated[Identity, Depends(require(Permission.WATCH_FIGURES))]
Stretch = Annotated[Window, Query(description="How far back the figures go; trends have their own lengths.")]


class MetricsOut(BaseModel):
    """Rates are shares from 0 to 1, null where nothing happened; times are milliseconds."""

    mcp_metrics: dict[str, Any]
    dify_agent_status: list[dict[str, Any]]
    automation_success_rate: float | None
    daily_registrations: list[dict[str, Any]]
    welcome_message_stats: dict[str, Any]
    computed_at: str


class DashboardOut(BaseModel):
    """Rates are shares from 0 to 1, null where nothing happened; times are milliseconds."""

    automation_metrics: dict[str, Any]
    mcp_server_status: dict[str, Any]
    mcp_metrics: dict[str, Any]
    dify_agent_status: list[dict[str, Any]]
    recent_errors: list[dict[str, Any]]
    error_types: list[dict[str, Any]]
    business: dict[str, Any]
    system_health: dict[str, Any]
    computed_at: str


@router.get("/registration-automation/metrics", summary="The automation's figures of a period")
def get_metrics(_: Watcher, window: Stretch = Window.WEEK) -> Envelope[MetricsOut]:
    """Answer MCP calls, agents, success, registrations by day and welcomes; seconds old at most."""
    return Envelope(data=MetricsOut(**panel.metrics(window)))


@router.get("/admin/registration-automation/dashboard", summary="The dashboard's figures")
def get_dashboard(_: Watcher, window: Stretch = Window.WEEK) -> Envelope[DashboardOut]:
    """Answer the period's figures, error types, business figures, and how the system is now."""
    return Envelope(data=DashboardOut(**panel.overview(window)))
