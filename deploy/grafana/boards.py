"""All dashboards, in the order of the menu."""

from boards_journeys import JOURNEYS, OVERVIEW
from boards_services import AGENTS, CONSULTANTS, MCP, WORKERS

BOARDS = (OVERVIEW, JOURNEYS, AGENTS, MCP, CONSULTANTS, WORKERS)
