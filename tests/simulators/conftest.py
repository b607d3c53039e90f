"""Fixtures of the simulators' tests; the helpers they are made of are in simproc."""

from collections.abc import Iterator

import httpx
import pytest

from tests.simulators.simproc import MCP_KEY, THROWAWAY_MCP, Sim, running

APPS = ("agent", "new-agent", "chatflow", "workflow", "completion", "chat")


@pytest.fixture(autouse=True)
def _empty_servers() -> None:
    """Nothing here touches the database or Redis, so there is nothing to empty."""


@pytest.fixture(scope="package")
def mcp_url() -> Iterator[str]:
    """A stateless server that answers plain JSON, as ours does."""
    with running(str(THROWAWAY_MCP)) as (url, _):
        yield url


@pytest.fixture(scope="package")
def stateful_mcp_url() -> Iterator[str]:
    """A server that issues session ids and answers with event streams."""
    with running(str(THROWAWAY_MCP), "--stateful") as (url, _):
        yield url


@pytest.fixture(scope="package")
def dify_process(mcp_url: str) -> Iterator[str]:
    keys = [part for mode in APPS for part in ("--app-key", f"app-{mode}:normal:{mode}")]
    versions = ["--app-key", "app-warm:warm", "--app-key", "app-terse:terse", "--app-key", "app-flaky:flaky"]
    options = ["--latency-scale", "0.02", "--mcp-url", f"{mcp_url}/mcp", "--mcp-key", MCP_KEY]
    with running("-m", "simulators.dify", *keys, *versions, *options) as (url, _):
        yield url


@pytest.fixture
def sim(dify_process: str, mcp_url: str) -> Iterator[Sim]:
    """The simulator, authorised for the stateless MCP server, with nothing left of earlier tests."""
    with httpx.Client(timeout=10, trust_env=False) as http:
        http.post(dify_process + "/__sim__/reset").raise_for_status()
        http.delete(mcp_url + "/seen").raise_for_status()
        yield Sim(dify_process, http)
