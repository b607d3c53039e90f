"""Supervising processes: started, restarted, stopped in stages, with nothing left behind."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.waiting import wait_until, wait_until_async
from worker.launcher import child as child_module
from worker.launcher import supervisor as supervisor_module
from worker.launcher.errors import LaunchError
from worker.launcher.roles import READY_LINE, Role
from worker.launcher.supervisor import Supervisor
from worker.processes import Identity

SERVES = f"import sys, signal; print({READY_LINE!r}, flush=True); print('serving', flush=True); signal.pause()"


class Recorder:
    """A Console that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.lines: list[tuple[str, str]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def child_line(self, label: str, line: str) -> None:
        self.lines.append((label, line))


@pytest.fixture
def console() -> Recorder:
    return Recorder()


def role(code: str, *, name: str = "api", label: str | None = None) -> Role:
    return Role(
        name=name,
        label=label or name,
        arguments=[sys.executable, "-c", code],
        environment={"PATH": os.defpath},
        probe=None,
    )


def supervised(console: Recorder, test: Callable[[Supervisor], Awaitable[None]]) -> None:
    """Run the test with a supervisor, stopped at the end whatever happened."""

    async def run() -> None:
        supervisor = Supervisor(console, lambda: None)
        try:
            await test(supervisor)
        finally:
            await supervisor.stop()

    asyncio.run(run())


def test_a_process_that_is_killed_is_started_again_and_reported(console: Recorder) -> None:
    async def test(supervisor: Supervisor) -> None:
        await supervisor.start_and_wait([role(SERVES)], timeout_seconds=10)
        [(_, first)] = supervisor.running()
        os.kill(first, signal.SIGKILL)
        await wait_until_async(lambda: supervisor.running() and supervisor.running()[0][1] != first)

    supervised(console, test)
    assert console.said == ["api ended (signal SIGKILL); starting it again in 0.2 s"]


def test_the_distance_between_restarts_doubles_up_to_its_bound(
    console: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "FIRST_BACKOFF_SECONDS", 0.1)
    monkeypatch.setattr(child_module, "LONGEST_BACKOFF_SECONDS", 0.2)

    async def test(supervisor: Supervisor) -> None:
        child = supervisor.start(role(f"print({READY_LINE!r})"))
        await wait_until_async(lambda: child.restarts >= 3)

    supervised(console, test)
    distances = [said.split(" in ")[1] for said in console.said[:3]]
    assert distances == ["0.1 s", "0.2 s", "0.2 s"]


def test_a_process_that_never_serves_stops_the_start_with_its_last_words(console: Recorder) -> None:
    async def test(supervisor: Supervisor) -> None:
        await supervisor.start_and_wait([role("raise SystemExit('no key')")], timeout_seconds=10)

    with pytest.raises(LaunchError, match=r"api does not start; its last words:\n  no key"):
        supervised(console, test)


def test_a_process_that_hangs_at_its_start_is_given_up(console: Recorder) -> None:
    async def test(supervisor: Supervisor) -> None:
        await supervisor.start_and_wait([role("import signal; signal.pause()")], timeout_seconds=0.5)

    with pytest.raises(LaunchError, match="api was not ready within"):
        supervised(console, test)


def test_the_ready_line_is_kept_from_the_console(console: Recorder) -> None:
    async def test(supervisor: Supervisor) -> None:
        await supervisor.start_and_wait([role(SERVES)], timeout_seconds=10)
        await wait_until_async(lambda: console.lines)

    supervised(console, test)
    assert console.lines == [("api", "serving")]


def test_a_line_beyond_the_limit_is_dropped_and_the_next_one_shown(
    console: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "_LINE_LIMIT_BYTES", 1000)
    code = f"print('x' * 100_000, flush=True); print('after', flush=True); {SERVES}"

    async def test(supervisor: Supervisor) -> None:
        await supervisor.start_and_wait([role(code)], timeout_seconds=10)
        await wait_until_async(lambda: ("api", "serving") in console.lines)

    supervised(console, test)
    assert ("api", "after") in console.lines


def test_stop_kills_what_ignores_it_and_what_that_started(
    console: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "SHELLS_BY_SECONDS", 0.3)
    monkeypatch.setattr(supervisor_module, "LEAST_SOFT_SECONDS", 0.3)
    stubborn = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
open({str(tmp_path / "pid")!r}, "w").write(str(grandchild.pid))
{SERVES}
"""
    identities: list[Identity] = []

    async def test(supervisor: Supervisor) -> None:
        await supervisor.start_and_wait([role(stubborn)], timeout_seconds=10)
        pids = [supervisor.running()[0][1], int((tmp_path / "pid").read_text())]
        identities.extend(Identity.of(pid) for pid in pids)
        assert all(identity.process() for identity in identities)

    supervised(console, test)
    wait_until(lambda: not any(identity.process() for identity in identities))


def test_workers_stop_first_and_servers_last(console: Recorder, tmp_path: Path) -> None:
    log = tmp_path / "order"

    def recording(name: str) -> Role:
        code = f"""
import signal, sys
def leave(*_):
    with open({str(log)!r}, "a") as file:
        file.write({name!r} + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
{SERVES}
"""
        return role(code, name=name)

    async def test(supervisor: Supervisor) -> None:
        names = ["postgres", "api", "worker"]
        await supervisor.start_and_wait([recording(name) for name in names], timeout_seconds=10)

    supervised(console, test)
    assert log.read_text().split() == ["worker", "api", "postgres"]


def test_a_stopped_process_is_not_started_again(console: Recorder, tmp_path: Path) -> None:
    log = tmp_path / "starts"
    code = f"open({str(log)!r}, 'a').write('start\\n'); {SERVES}"

    async def test(supervisor: Supervisor) -> None:
        await supervisor.start_and_wait([role(code)], timeout_seconds=10)
        await supervisor.stop()
        assert supervisor.running() == []

    supervised(console, test)
    assert log.read_text() == "start\n"
    assert console.said == []


def test_a_second_request_to_stop_kills_at_once_and_starts_nothing_again(console: Recorder) -> None:
    async def test(supervisor: Supervisor) -> None:
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        await supervisor.start_and_wait([role(deaf + SERVES, name="worker")], timeout_seconds=10)
        started = time.monotonic()
        stopping = asyncio.create_task(supervisor.stop())
        await asyncio.sleep(0)
        supervisor.hurry()
        await stopping
        assert time.monotonic() - started < 2

    supervised(console, test)
    assert console.said == []
