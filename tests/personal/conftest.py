"""One person with a whole journey."""

import pytest

from tests.personal.seeding import Seeded, seed


@pytest.fixture
def seeded(database: str) -> Seeded:
    return seed()
