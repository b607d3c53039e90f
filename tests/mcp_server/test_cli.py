"""Ready configurations for clients."""

import json

import pytest
from typer.testing import CliRunner

from mcp_server.cli import app
from tests.mcp_server.support import key_of, rows

runner = CliRunner()


@pytest.mark.parametrize("client", ["dify", "claude-desktop", "cursor", "inspector"])
def test_the_key_is_masked_unless_asked_for(client: str) -> None:
    key = key_of("customer_tools")
    masked = runner.invoke(
        app, ["client-config", "customer_tools", "--for", client, "--url", "https://mcp.example/mcp"]
    )
    assert masked.exit_code == 0
    assert key not in masked.output
    assert key[:12] in masked.stdout
    assert "https://mcp.example/mcp" in masked.stdout
    shown = runner.invoke(app, ["client-config", "customer_tools", "--for", client, "--show-key"])
    assert key in shown.stdout
    if client != "inspector":
        assert json.loads(shown.stdout)
    assert rows("SELECT count(*) FROM audit_log WHERE actor = 'anmei mcp client-config'") == [(1,)]


def test_an_unknown_group_is_said(database: str) -> None:
    answer = runner.invoke(app, ["client-config", "nothing"])
    assert (answer.exit_code, "nothing" in answer.output) == (1, True)
