"""MCP shell: transports, the key gate and the tool modules. The rules live in services."""
