"""The tool modules. Each puts its functions into a toolbox; this is all of them together."""

from mcp_server.toolkit import Toolbox
from mcp_server.tools import user

TOOLBOX: Toolbox = {**user.TOOLS}
