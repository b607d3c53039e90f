"""Fixtures of the clients' tests: the Dify simulator as its own process, and servers that misbehave byte by byte."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import settings
from pydantic import SecretStr

from clients import agents, delta_relay
from clients.agents import AgentRequest, AgentTarget
from tests.clients.hostile import HostileServer, Script
from tests.simulators.simproc import MCP_KEY, THROWAWAY_MCP, Sim, running

# The machine is shared: how long one example takes says nothing about the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

MODES = ("agent", "new-agent", "chat", "chatflow", "workflow", "completion")


@pytest.fixture(autouse=True)
def _empty_servers() -> None:
    """Nothing here touches the database or Redis, so there is nothing to empty."""


@pytest.fixture(scope="package")
def dify_url() -> Iterator[str]:
    keys = [part for mode in MODES for part in ("--app-key", f"app-key-of-{mode}:normal:{mode}")]
    with running(str(THROWAWAY_MCP)) as (mcp_url, _):
        options = ["--latency-scale", "0.02", "--mcp-url", f"{mcp_url}/mcp", "--mcp-key", MCP_KEY]
        with running("-m", "simulators.dify", *keys, *options) as (url, _):
            yield url


@pytest.fixture
def sim(dify_url: str) -> Iterator[Sim]:
    """The simulator with nothing left of earlier tests."""
    with httpx.Client(timeout=10, trust_env=False) as http:
        http.post(dify_url + "/__sim__/reset").raise_for_status()
        yield Sim(dify_url, http)


@pytest.fixture
def ask(dify_url: str) -> Callable[..., AgentRequest]:
    """Build a request; `user_id` is one the simulator's MCP server knows."""

    def build(
        mode: str = "agent",
        *,
        timeout_seconds: float = 10,
        key: str | None = None,
        base_url: str | None = None,
        provider: str = "dify",
        user_id: str = "jrn_mei",
        user: str = "end-user",
    ) -> AgentRequest:
        target = AgentTarget(
            provider, base_url or dify_url, SecretStr(key or f"app-key-of-{mode}"), mode, timeout_seconds
        )
        return AgentRequest(target, {"user_id": user_id, "locale": "zh-CN"}, "请欢迎新客户", user, "trace-1")

    return build


@pytest.fixture
def previews_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand pieces over from the first on: the simulator is done sooner than a preview usually begins."""
    monkeypatch.setattr(delta_relay, "PREVIEW_AFTER_SECONDS", 0)


@pytest.fixture
def hostile() -> Iterator[Callable[[Script], HostileServer]]:
    """Start servers that answer every connection with the script."""
    servers: list[HostileServer] = []

    def start(script: Script) -> HostileServer:
        servers.append(HostileServer(script))
        return servers[-1]

    yield start
    # The loop first: its open connections would otherwise keep the servers' threads.
    agents.shutdown()
    for server in servers:
        server.close()
