"""Settings changed in the browser as two API processes and two workers follow them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from api_hooks import on_user_registered
from core.database import unit_of_work
from models import JourneyStep, SettingsVersion, StepAttempt
from services import automation, confirmations, users
from services.confirmations import State
from services.permissions import Role
from tests.admin.conftest import PASSWORD, token_of
from tests.admin.test_pages import form_values
from tests.api.processes import ApiProcess
from tests.support.factories import create_agent
from tests.support.processes import OwnProcess
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)
NAME = automation.NAME
WORKER = ["-m", "worker.cli", "worker", "--queues", "journeys,agents,notifications,maintenance"]
WORKER += ["--pool", "threads", "--concurrency", "4"]
FOLLOWED_WITHIN_SECONDS = 1.0


class Page:
    """The settings page of one process, in one browser."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"accept-language": "en"}, timeout=20)
        fields = {"csrf_token": token_of(self.http.get("/admin/login")), "username": "chief", "password": PASSWORD}
        assert self.http.post("/admin/login", data=fields).status_code == 303

    def show(self) -> str:
        return self.http.get(f"/admin/settings/{NAME}").text

    def save(self, **fields: str) -> int:
        """Save the form as it is shown but for these fields; return the answer's status."""
        shown = self.http.get(f"/admin/settings/{NAME}")
        given = form_values(shown) | {"reason": "a test"} | fields
        return self.http.post(f"/admin/settings/{NAME}", data=given).status_code

    def roll_back(self, version: int) -> int:
        asked = self.http.get(f"/admin/settings/{NAME}/rollback/{version}")
        return self.http.post(f"/admin/settings/{NAME}/rollback/{version}", data=form_values(asked)).status_code


@pytest.fixture(scope="module")
def stack(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ApiProcess]]:
    """Two API processes and two workers."""
    logs = tmp_path_factory.mktemp("api")
    with ExitStack() as running:
        for _ in range(2):
            running.enter_context(OwnProcess(WORKER))
        yield [running.enter_context(ApiProcess(logs / f"{number}.log")) for number in range(2)]


@pytest.fixture
def pages(stack: list[ApiProcess]) -> Iterator[list[Page]]:
    users.create_staff_user("chief", SecretStr(PASSWORD), [Role.ADMIN], actor="test")
    # Its rows are emptied after each test like all others: each process says it again within a beat.
    wait_until(lambda: len(listed()) == 4, timeout_seconds=30)
    opened = [Page(one.url) for one in stack]
    yield opened
    for one in opened:
        one.http.close()


def listed() -> list[confirmations.ProcessState]:
    return confirmations.processes(NAME).listed


def all_follow(version: int) -> float:
    """Wait until every process runs the version; return how many seconds after its writing the last one did."""
    wait_until(lambda: [one.version for one in listed()] == [version] * 4, timeout_seconds=10)
    with unit_of_work() as session:
        written = session.scalars(select(SettingsVersion.created_at).where(SettingsVersion.version == version)).one()
    return max((one.since - written).total_seconds() for one in listed())


def delays_of_next_failures(workers: int = 2) -> set[int]:
    """Have journeys fail until so many processes failed one; return after how many seconds each is tried again."""
    delays: set[int] = set()
    seen: set[str | None] = set()
    deadline = time.monotonic() + 30
    while len(seen) < workers:
        assert time.monotonic() < deadline, f"only {seen} worked"
        journeys = [on_user_registered(f"u-{time.monotonic_ns()}", {"username": "小美"}) for _ in range(4)]
        for worker, delay in wait_until(lambda journeys=journeys: failures(journeys), timeout_seconds=20):  # type: ignore[misc]
            seen.add(worker)
            delays.add(delay)
    return delays


def failures(journeys: list[UUID]) -> list[tuple[str | None, int]] | None:
    """Return who failed each journey's welcome and the retry's distance in seconds; None until all have failed."""
    with unit_of_work() as session:
        rows = session.execute(
            select(StepAttempt.worker, JourneyStep.due_at, StepAttempt.finished_at)
            .join(JourneyStep, JourneyStep.journey_id == StepAttempt.journey_id)
            .where(
                StepAttempt.journey_id.in_(journeys),
                StepAttempt.step == "generate_welcome",
                StepAttempt.finished_at.is_not(None),
                JourneyStep.name == "generate_welcome",
                JourneyStep.status == "waiting",
            )
        ).all()
    done = [(row[0], round((row[1] - row[2]).total_seconds(), -1)) for row in rows]
    return [(worker, int(delay)) for worker, delay in done] if len(done) == len(journeys) else None


def test_a_retry_policy_changed_in_the_browser_governs_the_next_failure_everywhere(pages: list[Page]) -> None:
    create_agent()
    assert (
        pages[0].save(**{"welcome_strategy": "agent_only", "retry.delays_seconds": "300", "retry.jitter": "0"}) == 303
    )
    # The first change also finds the processes starting.
    all_follow(1)
    assert delays_of_next_failures() == {300}

    assert pages[1].save(**{"retry.delays_seconds": "900"}) == 303
    assert all_follow(2) < FOLLOWED_WITHIN_SECONDS
    assert delays_of_next_failures() == {900}
    assert "Version 2: 4 of 4 processes" in pages[0].show()

    # Refused where it is given: nothing is written, the version before goes on.
    assert pages[0].save(**{"retry.delays_seconds": "-1"}) == 422
    assert automation.FAMILY.stored().version == 2
    assert delays_of_next_failures() == {900}

    assert pages[0].roll_back(1) == 303
    assert all_follow(3) < FOLLOWED_WITHIN_SECONDS
    assert delays_of_next_failures() == {300}


def test_a_version_no_process_can_read_is_seen_and_the_one_before_goes_on(pages: list[Page]) -> None:
    create_agent()
    policy = {"delays_seconds": [300], "jitter": 0}
    automation.change({"welcome_strategy": "agent_only", "retry": policy}, actor="test", reason="r")
    all_follow(1)
    # As another release might have written it.
    broken = {"retry": policy | {"max_retries": "many"}}
    with unit_of_work() as session:
        session.add(SettingsVersion(name=NAME, version=2, data=broken, created_by="another release"))
    wait_until(lambda: [one.state for one in listed()] == [State.REFUSED] * 4, timeout_seconds=10)
    assert [one.version for one in listed()] == [1] * 4
    assert delays_of_next_failures() == {300}
    assert "Version 2: 0 of 4 processes" in pages[0].show()
    # What is saved next begins with what runs.
    assert pages[0].save(**{"retry.delays_seconds": "900"}) == 303
    assert all_follow(3) < FOLLOWED_WITHIN_SECONDS
    assert automation.FAMILY.stored().values.welcome_strategy == "agent_only"
    assert delays_of_next_failures() == {900}
