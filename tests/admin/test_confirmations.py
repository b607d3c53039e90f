"""What is said of processes that follow the settings, hang, or are gone; and of versions that cannot be read."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from core.database import unit_of_work
from core.ids import new_id
from core.snapshots import forget_all, listener_pid
from models import SettingsProcess, SettingsVersion
from services import automation, confirmations
from services.confirmations import State
from tests.admin.conftest import Visitor
from tests.support.waiting import wait_until

NAME = automation.NAME


@pytest.fixture
def reporting(database: str) -> Iterator[None]:
    confirmations.end()
    confirmations.begin("api")
    wait_until(lambda: len(states()) == 1 and listener_pid() is not None)
    yield
    confirmations.end()


def states() -> list[tuple[str, int, State]]:
    return [(one.role, one.version, one.state) for one in confirmations.processes(NAME).listed]


def other(*, listener: int | None, seen: str = "0 s", **versions: int) -> None:
    """Note another process, last heard of so long ago."""
    row = SettingsProcess(id=new_id(), role="worker", host="h", pid=1, listener_pid=listener, versions=versions)
    with unit_of_work() as session:
        session.add(row)
        session.flush()
        session.execute(
            text(f"UPDATE settings_processes SET seen_at = now() - interval '{seen}' WHERE id = :id"), {"id": row.id}
        )


def test_a_process_confirms_each_version_and_leaves_no_row(reporting: None) -> None:
    assert states() == [("api", 0, State.CURRENT)]
    automation.change({"enabled": False}, actor="test")
    wait_until(lambda: states() == [("api", 1, State.CURRENT)])
    confirmations.end()
    assert states() == []


def test_a_change_nobody_announced_is_followed_with_the_next_report(
    reporting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmations, "BEAT_SECONDS", 0.2)
    automation.FAMILY.follow()
    with unit_of_work() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.add(SettingsVersion(name=NAME, version=1, data={"enabled": False}, created_by="x"))
    wait_until(lambda: states() == [("api", 1, State.CURRENT)])
    assert not automation.current().enabled


def test_a_process_that_did_not_follow_is_told_from_one_that_is_about_to(database: str) -> None:
    automation.change({"enabled": False}, actor="test")
    other(listener=None, **{NAME: 0})
    assert states() == [("worker", 0, State.FOLLOWING)]
    with unit_of_work() as session:
        session.execute(text("UPDATE settings_versions SET created_at = now() - interval '2 s'"))
    assert states() == [("worker", 0, State.BEHIND)]
    assert confirmations.processes(NAME).current == 0


def test_a_process_that_hangs_stays_in_sight_and_one_that_is_gone_does_not(reporting: None) -> None:
    other(listener=listener_pid(), seen="20 s", **{NAME: 0})
    other(listener=2_000_000_000, seen="20 s", **{NAME: 0})
    assert states() == [("api", 0, State.CURRENT), ("worker", 0, State.SILENT)]
    # The next report of anybody forgets the one that is gone.
    automation.change({"enabled": False}, actor="test")
    wait_until(lambda: rows() == 2)


def rows() -> int:
    with unit_of_work() as session:
        return int(session.execute(text("SELECT count(*) FROM settings_processes")).scalar_one())


def test_a_process_that_starts_with_a_version_it_cannot_read_runs_the_last_it_can(admin: Visitor) -> None:
    automation.change({"enabled": False}, actor="test")
    with unit_of_work() as session:
        session.add(SettingsVersion(name=NAME, version=2, data={"retry": {"max_retries": "many"}}, created_by="x"))
    # As in a process that has loaded nothing yet.
    forget_all()
    assert automation.FAMILY.running().version == 1
    assert automation.FAMILY.running().refused == 2
    assert not automation.current().enabled
    page = admin.get(f"/admin/settings/{NAME}")
    assert page.status_code == 200
    assert admin.get(f"/admin/settings/{NAME}/history").status_code == 200


def test_the_part_of_the_page_is_polled_for_as_long_as_it_is_the_same(admin: Visitor, reporting: None) -> None:
    path = f"/admin/settings/{NAME}/processes/live"
    first = admin.get(path)
    assert "1 of 1 processes" in first.text
    assert admin.get(path, headers={"if-none-match": first.headers["etag"]}).status_code == 304
