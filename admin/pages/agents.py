"""Agents: whom is asked for welcomes, in which versions and shares, how they did, and whether they answer."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.responses import Response
from pydantic import ValidationError

from admin.forms import Form, identifier, storable
from admin.typed_form import message
from admin.web import Visit, pages, redirect, signed_in, status_of
from core.errors import ConflictError, NotFoundError
from models import Agent
from services import agent_check, agents_admin
from services.agent_check import Check
from services.agents_admin import AgentChange, AgentFigures, NewAgent, NewVersion, VersionChange
from services.permissions import Permission

router = pages("/agents")

Manager = Annotated[Visit, Depends(signed_in(Permission.MANAGE_AGENTS))]
STATISTICS_DAYS = 7
PROVIDERS = ("dify", "openai_compatible")
MODES = ("agent", "new-agent", "chat", "chatflow", "workflow", "completion")
STATUSES = ("active", "canary", "retired")


@router.get("")
def listed(visit: Manager) -> Response:
    return _list(visit)


@router.get("/live")
def listed_live(visit: Manager) -> Response:
    return visit.live("agent_statistics.html", statistics=agents_admin.recent(days=STATISTICS_DAYS))


@router.post("")
def create(visit: Manager) -> Response:
    try:
        new = NewAgent.model_validate(_agent_values(visit.form))
    except ValidationError as error:
        return _list(visit, status=422, problem=_problems(error, visit))
    agent = agents_admin.create(new, actor=visit.actor, origin=visit.origin)
    return redirect(f"/admin/agents/{agent.id}", done="agent-created")


@router.get("/{agent_id}")
def show(agent_id: UUID, visit: Manager) -> Response:
    return _page(visit, agent_id)


@router.get("/{agent_id}/live")
def live(agent_id: UUID, visit: Manager) -> Response:
    return visit.live("agent_statistics.html", statistics=_statistics(agent_id))


@router.post("/{agent_id}")
def change(agent_id: UUID, visit: Manager) -> Response:
    return _changing(
        visit,
        agent_id,
        lambda: agents_admin.change(
            agent_id,
            AgentChange.model_validate(_agent_values(visit.form)),
            actor=visit.actor,
            origin=visit.origin,
        ),
        done="agent-changed",
    )


@router.post("/{agent_id}/check")
def check(agent_id: UUID, visit: Manager) -> Response:
    """Ask the provider who it is, and have one welcome written for nobody: a paid run."""
    return _page(visit, agent_id, checked=agent_check.check(agent_id, actor=visit.actor, origin=visit.origin))


@router.post("/{agent_id}/preview")
def preview(agent_id: UUID, visit: Manager) -> Response:
    """Have the welcome of a chosen user written and shown to nobody else: a paid run."""
    chosen, version_id = storable(visit.form.text("customer")) or "", identifier(visit.form.line("version_id"))
    try:
        written = agent_check.preview(agent_id, version_id, customer=chosen, actor=visit.actor, origin=visit.origin)
    except (NotFoundError, ConflictError) as error:
        if error.code not in {"CUSTOMER_NOT_FOUND", "CUSTOMER_HAS_NO_JOURNEY"}:
            raise
        return _page(visit, agent_id, status=status_of(error), problem=visit.explain(error), chosen=chosen)
    return _page(visit, agent_id, checked=written, chosen=chosen)


@router.post("/{agent_id}/circuit")
def set_circuit(agent_id: UUID, visit: Manager) -> Response:
    """Open or close a circuit by hand."""
    is_open = visit.form.line("state") == "open"
    version_id = identifier(visit.form.line("version_id"))
    agents_admin.set_circuit(agent_id, version_id, is_open=is_open, actor=visit.actor, origin=visit.origin)
    return redirect(f"/admin/agents/{agent_id}", done="circuit-opened" if is_open else "circuit-closed")


@router.post("/{agent_id}/delete")
def delete(agent_id: UUID, visit: Manager) -> Response:
    """Delete the agent, once the form names it."""
    agent = _find(agent_id)
    if visit.form.line("name") != agent.name:
        return _page(visit, agent_id, status=422, problem=visit.gettext("Type the agent's name to delete it."))
    agents_admin.delete(agent_id, actor=visit.actor, origin=visit.origin)
    return redirect("/admin/agents", done="agent-deleted")


@router.post("/{agent_id}/versions")
def create_version(agent_id: UUID, visit: Manager) -> Response:
    form = visit.form
    given = {name: form.text(name).strip() for name in ("app_id", "api_key", "mode", "timeout_ms", "instruction")}
    values = {name: value for name, value in given.items() if value} | _version_values(form)
    return _changing(
        visit,
        agent_id,
        lambda: agents_admin.create_version(
            agent_id, NewVersion.model_validate(values), actor=visit.actor, origin=visit.origin
        ),
        done="version-created",
    )


@router.post("/{agent_id}/versions/{version_id}")
def change_version(agent_id: UUID, version_id: UUID, visit: Manager) -> Response:
    return _changing(
        visit,
        agent_id,
        lambda: agents_admin.change_version(
            agent_id,
            version_id,
            VersionChange.model_validate(_version_values(visit.form)),
            actor=visit.actor,
            origin=visit.origin,
        ),
        done="version-changed",
    )


def _changing(visit: Visit, agent_id: UUID, deed: Callable[[], object], *, done: str) -> Response:
    try:
        deed()
    except ValidationError as error:
        return _page(visit, agent_id, status=422, problem=_problems(error, visit))
    return redirect(f"/admin/agents/{agent_id}", done=done)


def _list(visit: Visit, *, status: int = 200, problem: str | None = None) -> Response:
    return visit.page(
        "agents.html",
        status=status,
        agents=agents_admin.listed(),
        statistics=agents_admin.recent(days=STATISTICS_DAYS),
        days=STATISTICS_DAYS,
        problem=problem,
        form=visit.form,
        providers=[(one, one) for one in PROVIDERS],
        modes=[(one, one) for one in MODES],
    )


def _page(
    visit: Visit,
    agent_id: UUID,
    *,
    status: int = 200,
    problem: str | None = None,
    checked: Check | None = None,
    chosen: str = "",
) -> Response:
    agent, versions = _find(agent_id), agents_admin.versions(agent_id)
    return visit.page(
        "agent.html",
        status=status,
        agent=agent,
        versions=versions,
        # The agent as it is stands for itself.
        pairs=[("", agent.name), *((one.id, f"v{one.number} {one.label}") for one in versions)],
        statistics=_statistics(agent_id),
        own=[one for one in agents_admin.standing() if one.agent_id == agent_id],
        days=STATISTICS_DAYS,
        problem=problem,
        checked=checked,
        chosen=chosen,
        providers=[(one, one) for one in PROVIDERS],
        modes=[(one, one) for one in MODES],
        statuses=STATUSES,
    )


def _statistics(agent_id: UUID) -> list[AgentFigures] | None:
    figures = agents_admin.recent(days=STATISTICS_DAYS)
    return [one for one in figures if one.agent_id == agent_id] if figures is not None else None


def _find(agent_id: UUID) -> Agent:
    found = next((one for one in agents_admin.listed() if one.id == agent_id), None)
    if found is None:
        raise NotFoundError("no such agent", code="NOT_FOUND")
    return found


def _agent_values(form: Form) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: form.line(name) for name in ("name", "provider", "base_url", "mode", "timeout_ms", "position")
    }
    values |= {"enabled": form.flag("enabled"), "app_id": form.line("app_id") or None}
    # An empty key keeps the present one.
    return values | ({"api_key": form.line("api_key")} if form.line("api_key") else {})


def _version_values(form: Form) -> dict[str, Any]:
    return {name: form.line(name) for name in ("label", "status", "weight", "canary_percent")}


def _problems(error: ValidationError, visit: Visit) -> str:
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {message(one, visit.language)}" for one in error.errors(include_url=False)
    )
