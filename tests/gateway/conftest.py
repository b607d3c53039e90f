"""Fixtures of the gateway's tests: its pure rules touch no server."""

import pytest


@pytest.fixture(autouse=True)
def _empty_servers() -> None:
    """Nothing here touches the database or Redis, so there is nothing to empty."""
