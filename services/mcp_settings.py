"""What an administrator may change about the MCP server as a whole: who may reach it, and its limits."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.settings_family import SettingsFamily, Versioned

NAME = "mcp"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class McpSettings(BaseModel):
    """Defaults serve a client on the same machine; everything else is opened on purpose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    # Also serve /mcp and /sse under the API's own port.
    mount_on_api: bool = False
    # Over several worker processes a client's POST may reach a process that does not hold its stream: one process, or
    # sticky routing, is needed for this transport.
    sse_enabled: bool = True
    # Names clients may reach the server by: `name` for any port, `name:port`, `*.domain`; loopback is always among them.
    allowed_hosts: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = ()
    # Browser origins (scheme://host[:port]); loopback origins are always among them.
    allowed_origins: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = ()
    # Per key and tool, over all processes; 0 for none.
    calls_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 6000
    max_body_bytes: Annotated[int, Field(ge=1024, le=4 * 1024 * 1024)] = 256 * 1024
    # Objects and arrays within each other; real calls use fewer than ten.
    max_json_depth: Annotated[int, Field(ge=8, le=200)] = 40
    max_output_bytes: Annotated[int, Field(ge=1024, le=4 * 1024 * 1024)] = 256 * 1024
    # How much of a request and of a response the call log keeps.
    log_payload_bytes: Annotated[int, Field(ge=0, le=64 * 1024)] = 4096
    log_retention_months: Annotated[int, Field(ge=1, le=120)] = 6


FAMILY = SettingsFamily(NAME, McpSettings)
current = FAMILY.current
current_version = FAMILY.current_version
change = FAMILY.change
on_change = FAMILY.on_change
VersionedMcpSettings = Versioned[McpSettings]
