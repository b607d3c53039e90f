"""The tool modules. Each puts its functions into a toolbox; this is all of them together."""

from mcp_server.toolkit import Toolbox
from mcp_server.tools import consultation, customer, projects, system, treatment, user

TOOLBOX: Toolbox = {
    **user.TOOLS,
    **customer.TOOLS,
    **consultation.TOOLS,
    **treatment.TOOLS,
    **projects.TOOLS,
    **system.TOOLS,
}
