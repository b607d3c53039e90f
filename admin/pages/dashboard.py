"""The dashboard: how the automation does now, today and over the last days."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import Response

from admin import charts
from admin.forms import choice
from admin.i18n import local
from admin.web import Visit, pages, signed_in
from queries.dashboard import TrendPoint
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
    board = dashboard.glance(window)
    figures = board.figures
    return {
        "board": board,
        "window": window,
        "windows": list(Window),
        "rules": dashboard,
        "days": _chart(figures.days, "%m-%d") if figures else None,
        "hours": _chart(figures.hours, "%H:00") if figures else None,
    }


def _chart(points: Sequence[TrendPoint], form: str) -> charts.Columns:
    return charts.columns([(local(one.at, form), one.accepted, one.failed) for one in points])
