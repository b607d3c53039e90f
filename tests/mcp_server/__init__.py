"""The MCP server through its real doors."""
