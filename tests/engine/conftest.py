"""An agent that answers at once (the simulator, as a process of its own), and views on what a test left behind."""

from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from core.database import unit_of_work
from models import StepName
from services import intake
from services.intake import Registration, Submission
from tests.simulators.simproc import running
from tests.support.factories import create_agent

KEY = "app-engine"


@pytest.fixture(scope="package")
def simulator_url() -> Iterator[str]:
    arguments = ("--port", "0", "--app-key", KEY, "--latency-scale", "0", "--no-mcp")
    with running("-m", "simulators.dify", *arguments) as (url, _):
        yield url


class SimulatedAgent:
    """The simulator as these tests see it."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=5)

    def fault(self, kind: str, **parameters: object) -> None:
        self._http.post("/__sim__/faults", json={"kind": kind, **parameters}).raise_for_status()

    def calls(self) -> int:
        """Return how many runs were begun since the last reset."""
        return len(self._http.get("/__sim__/runs").raise_for_status().json()["runs"])

    def reset(self) -> None:
        self._http.post("/__sim__/reset").raise_for_status()


@pytest.fixture
def agent(simulator_url: str) -> Iterator[SimulatedAgent]:
    """An enabled agent in the database, with the simulator behind it."""
    create_agent(f"{simulator_url}/v1", api_key=KEY, name="welcome")
    simulated = SimulatedAgent(simulator_url)
    simulated.reset()
    yield simulated
    simulated.reset()


def accept(count: int = 1, **fields: object) -> list[UUID]:
    """Accept new registrations and return their journeys."""
    start = rows("SELECT count(*) FROM users")[0][0]
    submissions = [
        Submission(Registration.model_validate({"user_id": f"u{start + n}", "username": f"客户{start + n}", **fields}))
        for n in range(count)
    ]
    return [one.journey_id for one in intake.accept(submissions)]


def rows(sql: str, **parameters: object) -> list[tuple[object, ...]]:
    """Return the rows of a query, as plain tuples."""
    with unit_of_work() as session:
        return [tuple(row) for row in session.execute(text(sql), parameters)]


def execute(sql: str, **parameters: object) -> None:
    with unit_of_work() as session:
        session.execute(text(sql), parameters)


def step(journey_id: UUID, name: StepName) -> tuple[object, ...]:
    """Return (status, attempts, failures, error_code) of one step."""
    return rows(
        "SELECT status, attempts, failures, error_code FROM journey_steps WHERE journey_id = :id AND name = :name",
        id=journey_id,
        name=name,
    )[0]


def journey_status(journey_id: UUID) -> object:
    return rows("SELECT status FROM journeys WHERE id = :id", id=journey_id)[0][0]


def messages(journey_id: UUID) -> list[object]:
    """Return who wrote the journey's messages, in their order."""
    return [row[0] for row in rows("SELECT source FROM messages WHERE journey_id = :id ORDER BY id", id=journey_id)]
