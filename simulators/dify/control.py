"""The simulator's own endpoints under /__sim__: faults, runs, figures, authorisation, apps. No key is asked for."""

import json
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulators.dify.app import Simulator
from simulators.dify.faults import KINDS
from simulators.dify.mcp_sessions import McpError
from simulators.dify.profiles import App, make_app


def _refused(error: Exception, status: int = 422) -> Response:
    return JSONResponse({"error": str(error) or type(error).__name__}, status)


def shown_app(app: App) -> dict[str, Any]:
    return {
        "app_key": app.key,
        "mode": app.mode,
        "profile": app.profile_name,
        "style": app.style,
        "enabled": app.enabled,
    }


class Control:
    """Handlers bound to one simulator."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def list_faults(self, _request: Request) -> Response:
        return JSONResponse({"faults": [rule.as_dict() for rule in self.sim.faults.rules], "kinds": KINDS})

    async def add_fault(self, request: Request) -> Response:
        try:
            rule = self.sim.faults.add(await request.json())
        except (ValueError, TypeError, AttributeError) as error:
            return _refused(error)
        return JSONResponse(rule.as_dict(), 201)

    async def clear_faults(self, request: Request) -> Response:
        rule_id = request.query_params.get("id")
        return JSONResponse({"removed": self.sim.faults.clear(int(rule_id) if rule_id else None)})

    async def list_runs(self, request: Request) -> Response:
        """Oldest first; ``?user=``, ``?app_key=``, ``?outcome=`` filter, ``?limit=`` keeps the newest."""
        wanted = {
            name: request.query_params[name] for name in ("user", "app_key", "outcome") if name in request.query_params
        }
        runs = [run for run in self.sim.log.runs if all(getattr(run, name) == value for name, value in wanted.items())]
        limit = int(request.query_params.get("limit", len(runs)))
        return JSONResponse({"runs": [run.as_dict() for run in runs[-limit:] if limit], "total": len(runs)})

    async def stats(self, _request: Request) -> Response:
        log = self.sim.log
        return JSONResponse(
            {"open": len(log.open), "kept": len(log.runs), "mcp_tools": self.sim.mcp.tools, **log.counters}
        )

    async def reset(self, _request: Request) -> Response:
        """Forget runs, conversations and faults; apps and the authorised MCP server stay."""
        self.sim.log.reset()
        self.sim.faults.clear()
        return JSONResponse({"result": "success"})

    async def authorize(self, request: Request) -> Response:
        """Point the apps at an MCP server and list its tools once; 502 and no change when that fails."""
        try:
            body = await request.json()
            url, key = str(body["mcp_url"]), body.get("mcp_key")
        except (json.JSONDecodeError, KeyError, AttributeError):
            return _refused(ValueError("mcp_url is needed, mcp_key may be given"))
        try:
            tools = await self.sim.mcp.authorize(url, key)
        except (McpError, httpx.HTTPError, TimeoutError, ValueError) as error:
            return _refused(error, 502)
        return JSONResponse({"tools": tools})

    async def list_apps(self, _request: Request) -> Response:
        return JSONResponse({"apps": [shown_app(app) for app in self.sim.apps.values()]})

    async def put_app(self, request: Request) -> Response:
        """Add or change an app: ``{"app_key", "mode"?, "profile"?, "style"?, "enabled"?, "fixed_latency_ms"?}``."""
        try:
            body = await request.json()
            app = make_app(
                str(body["app_key"]),
                profile=body.get("profile", "normal"),
                mode=body.get("mode", "agent"),
                style=body.get("style"),
            )
        except (ValueError, KeyError, TypeError) as error:
            return _refused(error)
        app.enabled = bool(body.get("enabled", True))
        app.fixed_latency_ms = body.get("fixed_latency_ms")
        self.sim.add_app(app)
        return JSONResponse(shown_app(app), 201)

    def routes(self) -> list[Route]:
        table = [
            ("GET", "health", self.health),
            ("GET", "faults", self.list_faults),
            ("POST", "faults", self.add_fault),
            ("DELETE", "faults", self.clear_faults),
            ("GET", "runs", self.list_runs),
            ("GET", "stats", self.stats),
            ("POST", "reset", self.reset),
            ("POST", "authorize", self.authorize),
            ("GET", "apps", self.list_apps),
            ("POST", "apps", self.put_app),
        ]
        return [Route(f"/__sim__/{name}", handler, methods=[method]) for method, name, handler in table]
