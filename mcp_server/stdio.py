"""The stdio transport, for development: one client, one key from the environment, ended with its input."""

import asyncio
import sys
from functools import partial

from mcp.server.stdio import stdio_server

from core import crypto
from core.settings import get_settings
from mcp_server.calls import Caller, current_caller
from mcp_server.server import McpServer, announce_list_changed


def serve_stdio() -> None:
    """Serve the group of ANMEI_MCP_KEY on standard input and output; exit with 3 where the key opens nothing."""
    asyncio.run(_serve())


async def _serve() -> None:
    mcp = McpServer()
    async with mcp.run():
        caller = _caller(mcp)
        if caller is None:
            sys.stderr.write("ANMEI_MCP_KEY must hold the key of an enabled tool group (anmei mcp client-config).\n")
            raise SystemExit(3)
        current_caller.set(caller)
        async with stdio_server() as (reading, writing):
            with mcp.streams.telling(caller.group.id, partial(announce_list_changed, writing)):
                await mcp.server.run(reading, writing, mcp.initialization())


def _caller(mcp: McpServer) -> Caller | None:
    key, catalogue = get_settings().mcp_key, mcp.catalogue
    if key is None or catalogue is None:
        return None
    group = catalogue.group_of_key(crypto.lookup_hash(key))
    return Caller(group, "stdio") if group is not None and group.enabled else None
