"""Writes the dashboards of boards.py as Grafana's JSON: ``python deploy/grafana/build.py``; a test compares them."""

import json
import sys
from pathlib import Path
from typing import Any

from boards import BOARDS
from panels import Board, Panel, Variable

OUTPUT = Path(__file__).parent / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "anmei-prometheus"}
COLUMNS = 24
PANEL_HEIGHT = {"stat": 5, "timeseries": 8}
# Grafana's dashboard schema these files are written in; it migrates older ones by itself.
SCHEMA_VERSION = 39


def dashboard(board: Board) -> dict[str, Any]:
    """Return one dashboard as Grafana reads it."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["anmei"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "tags": ["anmei"], "asDropdown": False, "title": "", "keepTime": True}],
        "templating": {"list": [_variable(variable) for variable in board.variables]},
        "panels": _panels(board),
    }


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.name})"
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "A"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels(board: Board) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    top = 0
    for heading, row in board.rows.items():
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": heading, "gridPos": place, "collapsed": False})
        top += 1
        left = height = 0
        for panel in row:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            height = max(height, PANEL_HEIGHT[panel.kind])
            place = {"x": left, "y": top, "w": panel.width, "h": PANEL_HEIGHT[panel.kind]}
            panels.append(_panel(panel, len(panels) + 1) | {"gridPos": place})
            left += panel.width
        top += height
    return panels


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    steps = [{"value": value, "color": color} for value, color in panel.thresholds]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    options: dict[str, Any]
    if panel.kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
    else:
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "spanNulls": True}
        if panel.stacked:
            defaults["custom"] |= {"stacking": {"mode": "normal"}, "fillOpacity": 30}
        if len(panel.thresholds) > 1:
            defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    targets = [
        {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
        for index, (legend, expression) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }


def rendered(board: Board) -> str:
    """Return the file's text."""
    return json.dumps(dashboard(board), ensure_ascii=False, indent=2) + "\n"


def file_of(board: Board) -> Path:
    return OUTPUT / f"{board.uid.removeprefix('anmei-')}.json"


def main() -> None:
    """Write every dashboard."""
    OUTPUT.mkdir(exist_ok=True)
    for board in BOARDS:
        file_of(board).write_text(rendered(board))
        sys.stdout.write(f"{file_of(board)}\n")


if __name__ == "__main__":
    main()
