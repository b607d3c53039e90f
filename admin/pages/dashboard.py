"""The dashboard: how the automation does now, today and over the last days."""

from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import Response

from admin import charts
from admin.forms import choice
from admin.i18n import local
from admin.web import Visit, pages, signed_in
from services import dashboard
from services.dashboard import Window
from services.permissions import Permission

router = pages("/dashboard")

Watcher = Annotated[Visit, Depends(signed_in(Permission.WATCH_FIGURES))]


@router.get("")
def show(visit: Watcher) -> Response:
    return visit.page("dashboard.html", **_context(visit))


@router.get("/live")
def live(visit: Watcher) -> Response:
    return visit.live("dashboard_live.html", **_context(visit))


def _context(visit: Visit) -> dict[str, Any]:
    window = choice(Window, visit.query.get("window")) or Window.DAY
    board = dashboard.read(window)
    return {
        "board": board,
        "window": window,
        "windows": list(Window),
        "rules": dashboard,
        "days": charts.columns([(local(one.at, "%m-%d"), one.accepted, one.failed) for one in board.days]),
        "hours": charts.columns([(local(one.at, "%H:00"), one.accepted, one.failed) for one in board.hours]),
    }
