"""Tools only tests offer: slow, failing, talkative, and writing."""

import asyncio
import time
from typing import Any

from sqlalchemy import func, select

from core.errors import TransientError
from core.ids import new_id
from mcp_server.toolkit import Toolbox, tool
from mcp_server.tools import TOOLBOX
from models import AuditEntry
from services import mcp_groups, mcp_tools
from services.mcp_groups import NewGroup
from services.mcp_work import CallContext

PROBES: Toolbox = {}
GROUP = "probes"
events: list[str] = []


@tool(PROBES)
def sleep_in_the_database(context: CallContext, seconds: float) -> dict[str, Any]:
    """Run one long statement, then try another and write."""
    try:
        with context.session() as session:
            session.execute(select(func.pg_sleep(seconds)))
            session.add(AuditEntry(actor="probe", action="probe.after_sleep", subject="probe"))
        return {"slept": seconds}
    except Exception as error:
        events.append(type(error).__name__)
        raise


@tool(PROBES)
def many_short_statements(context: CallContext, seconds: float) -> dict[str, Any]:
    """Run short statements in sessions of their own until the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with context.session() as session:
            session.execute(select(func.pg_sleep(0.01)))
    events.append("went on to the end")
    return {}


@tool(PROBES)
async def wait_asynchronously(context: CallContext, seconds: float) -> dict[str, Any]:
    """Wait without a thread."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        events.append("cancelled")
        raise
    return {}


@tool(PROBES)
def fail(context: CallContext, kind: str = "secret") -> dict[str, Any]:
    """Fail, foreseen or not."""
    if kind == "transient":
        raise TransientError("come back later", code="LATER")
    raise RuntimeError("password=hunter2 at /etc/passwd")


@tool(PROBES)
def say(context: CallContext, text: str, times: int = 1) -> dict[str, Any]:
    """Say something back."""
    return {"said": text * times, "id": new_id()}


def offer_probes() -> None:
    """Put all probes into a group of their own."""
    group, _ = mcp_groups.create(NewGroup(name=GROUP), actor="test")
    for name in PROBES:
        mcp_tools.assign(mcp_tools.NewTool(tool_name=name, group_id=group.id), actor="test")


EVERYTHING: Toolbox = TOOLBOX | PROBES
