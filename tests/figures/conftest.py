"""A page without a past, and a reader of it."""

from collections.abc import Callable, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services import figures

Labels = tuple[tuple[str, str], ...]
Page = dict[tuple[str, Labels], float]


@pytest.fixture(autouse=True)
def _fresh_page(database: str) -> Iterator[None]:
    figures.forget()
    yield
    figures.forget()


@pytest.fixture
def page() -> Callable[[], Page]:
    """Collect the page now and return every sample by name and labels."""

    def read() -> Page:
        figures.forget()
        families = text_string_to_metric_families(figures.render().decode())
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    return read
