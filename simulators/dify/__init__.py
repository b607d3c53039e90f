"""Dify's Service API from the server's side: apps, runs, MCP client, faults. Start with ``python -m simulators.dify``."""
