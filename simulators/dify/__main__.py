"""``python -m simulators.dify``: serve simulated Dify apps until told to end. Every flag has a SIM_* variable."""

from typing import Annotated

import typer
from starlette.applications import Starlette

from simulators.dify.app import Simulator, service_routes
from simulators.dify.control import Control
from simulators.dify.openai import openai_routes
from simulators.dify.profiles import App, parse_app
from simulators.serve import serve


def build(sim: Simulator) -> Starlette:
    """The whole process as one ASGI application."""
    return Starlette(routes=[*service_routes(sim), *openai_routes(sim), *Control(sim).routes()])


def _apps(keys: list[str], profile: str, mode: str, fixed_latency_ms: float | None) -> list[App]:
    try:
        apps = [parse_app(text, profile=profile, mode=mode) for text in keys]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    for app in apps:
        app.fixed_latency_ms = fixed_latency_ms
    return apps


def main(
    port: Annotated[int, typer.Option(envvar="SIM_PORT", help="0 picks a free one.")] = 0,
    host: Annotated[str, typer.Option(envvar="SIM_HOST")] = "127.0.0.1",
    mcp_url: Annotated[str | None, typer.Option(envvar="SIM_MCP_URL")] = None,
    mcp_key: Annotated[str | None, typer.Option(envvar="SIM_MCP_KEY")] = None,
    app_key: Annotated[
        list[str] | None, typer.Option(envvar="SIM_APP_KEYS", help="KEY[:profile[:mode[:style]]], may be repeated.")
    ] = None,
    mode: Annotated[
        str, typer.Option(envvar="SIM_MODE", help="agent, new-agent, chat, chatflow, workflow, completion")
    ] = "agent",
    profile: Annotated[
        str, typer.Option(envvar="SIM_PROFILE", help="normal, quick, slow, warm, terse, flaky, mute")
    ] = "normal",
    seed: Annotated[int, typer.Option(envvar="SIM_SEED")] = 7,
    latency_scale: Annotated[float, typer.Option(envvar="SIM_LATENCY_SCALE", help="0 answers at once.")] = 1.0,
    fixed_latency_ms: Annotated[float | None, typer.Option(envvar="SIM_FIXED_LATENCY_MS")] = None,
    no_mcp: Annotated[bool, typer.Option("--no-mcp", envvar="SIM_NO_MCP", help="Never call the tool.")] = False,
    keep_runs: Annotated[int, typer.Option(envvar="SIM_KEEP_RUNS")] = 2000,
    ping_seconds: Annotated[float, typer.Option(envvar="SIM_PING_SECONDS")] = 10.0,
) -> None:
    """Serve simulated Dify apps."""
    apps = _apps(app_key or ["app-simulator"], profile, mode, fixed_latency_ms)
    sim = Simulator(apps, seed=seed, scale=latency_scale, use_mcp=not no_mcp, keep=keep_runs, ping=ping_seconds)
    if mcp_url:
        sim.mcp.configure(mcp_url, mcp_key)
    serve(build(sim), host=host, port=port)


if __name__ == "__main__":
    typer.run(main)
