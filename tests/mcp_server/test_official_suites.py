"""The official conformance suite and the official inspector against our server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import mcp_settings
from tests.mcp_server import conformance, npm
from tests.mcp_server.support import RunningServer, key_of

HERE = Path(__file__).parent
SUITE_SECONDS = 80

# The first run installs the suites.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def suites() -> Path:
    return npm.installed()


@pytest.fixture
def fixtures_server(suites: Path) -> Iterator[RunningServer]:
    mcp_settings.change({"calls_per_minute": 0}, actor="test")
    key = conformance.offer_fixtures()
    server = RunningServer(conformance.ConformanceServer(), conformance.with_key(key)).start()
    yield server
    server.stop()


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_the_official_suite_passes(suites: Path, fixtures_server: RunningServer, tmp_path: Path, revision: str) -> None:
    suite = suites / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    done = subprocess.run(
        [
            *(npm.node(suites), str(suite), "server", "--url", f"{fixtures_server.base}/mcp"),
            *("--requirements", revision, "--output-dir", str(tmp_path)),
            *("--expected-failures", str(HERE / f"conformance-{revision}.yml")),
        ],
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def inspect(suites: Path, url: str, key: str | None, *arguments: str) -> tuple[int, str]:
    """Run the inspector's command line; return its exit code and what it printed."""
    cli = suites / "node_modules" / ".bin" / "mcp-inspector"
    header = ["--header", f"Authorization: Bearer {key}"] if key else []
    done = subprocess.run(
        [npm.node(suites), str(cli.resolve()), "--cli", url, "--transport", "http", *header, *arguments],
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_inspector_sees_and_calls_a_keys_own_tools_only(suites: Path, server: RunningServer) -> None:
    url, projects, customers = f"{server.base}/mcp", key_of("project_tools"), key_of("customer_tools")
    lists = {}
    for key in (projects, customers):
        code, output = inspect(suites, url, key, "--method", "tools/list")
        assert code == 0, output
        lists[key] = [tool["name"] for tool in json.loads(output)["tools"]]
    assert "service_info" in lists[projects]
    assert "get_business_metrics" in lists[customers]
    assert set(lists[projects]).isdisjoint(lists[customers])
    own = ("--method", "tools/call", "--tool-name", "service_info")
    assert inspect(suites, url, projects, *own)[0] == 0
    assert inspect(suites, url, customers, *own)[0] == 5
    for key in (None, "mcp_key_" + "x" * 43):
        assert inspect(suites, url, key, "--method", "tools/list")[0] == 3
