"""The commands under `anmei mcp`: ready configurations for clients, keys, and example data."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

app = typer.Typer(help="The MCP server: connect clients to it.")


class Client(StrEnum):
    DIFY = "dify"
    CLAUDE_DESKTOP = "claude-desktop"
    CURSOR = "cursor"
    INSPECTOR = "inspector"


@app.command("seed")
def seed() -> None:
    """Create the first groups, tools and the example catalogue, where they are missing."""
    from services import mcp_seed

    mcp_seed.ensure_seed()


@app.command("client-config")
def client_config(
    group: Annotated[str, typer.Argument(help="The tool group, such as customer_tools.")],
    client: Annotated[Client, typer.Option("--for", help="Which client the configuration is for.")] = Client.DIFY,
    show_key: Annotated[bool, typer.Option("--show-key", help="Print the key; otherwise it is masked.")] = False,
    url: Annotated[str | None, typer.Option(help="How clients reach the server; default: what runs here.")] = None,
) -> None:
    """Print a ready configuration for a client. Showing the key is written down in the audit log."""
    from core.errors import AnmeiError
    from services import mcp_groups

    try:
        key = (
            mcp_groups.reveal_key(group, "anmei mcp client-config").get_secret_value()
            if show_key
            else mcp_groups.key_hint(group)
        )
    except AnmeiError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from None
    typer.echo(configuration(client, url or _url(), group, key))
    if not show_key:
        typer.echo("The key is masked; add --show-key for the real one.", err=True)


def configuration(client: Client, url: str, group: str, key: str) -> str:
    """Return the configuration's text: JSON as the client imports it, or the inspector's command line."""
    authorization = f"Bearer {key}"
    if client is Client.INSPECTOR:
        return (
            f"npx @modelcontextprotocol/inspector --cli {url} --transport http "
            f"--header 'Authorization: {authorization}' --method tools/list"
        )
    name = f"anmei-{group}"
    if client is Client.DIFY:
        return _json(
            {
                "server_url": url,
                "name": name,
                "server_identifier": name,
                "headers": {"Authorization": authorization, "X-Caller-App-Id": "<the Dify app's id>"},
                "timeout": 30,
                "sse_read_timeout": 300,
            }
        )
    if client is Client.CURSOR:
        return _json({"mcpServers": {name: {"url": url, "headers": {"Authorization": authorization}}}})
    # Claude Desktop starts local commands only: a bridge carries its stdio to the server. Blanks in arguments are lost on
    # some systems, so the header's value comes from the environment.
    arguments = [
        "-y",
        "mcp-remote",
        url,
        "--transport",
        "http-only",
        "--header",
        "Authorization:${ANMEI_AUTHORIZATION}",
    ]
    server = {"command": "npx", "args": arguments, "env": {"ANMEI_AUTHORIZATION": authorization}}
    return _json({"mcpServers": {name: server}})


def _url() -> str:
    from core.settings import get_settings

    settings = get_settings()
    return str(settings.running().get("mcp_url") or f"http://{settings.bind}:{settings.mcp_port}/mcp")


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
