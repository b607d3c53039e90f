"""`anmei up` as a user runs it: the whole stack, killed and stopped in every way, on real servers."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.processes import answers
from tests.launcher.stack import Stack
from tests.support.waiting import START_SECONDS, wait_until
from worker.processes import Identity

STOP_SECONDS = 15
ROLES = {
    "agent-simulator": 1,
    "api": 1,
    "beat": 1,
    "flower": 1,
    "mcp": 1,
    "postgres": 1,
    "push-simulator": 1,
    "redis": 1,
    "worker": 2,
}


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, taken_port: int) -> Iterator[Stack]:
    """A running stack below a long path, its wanted API port taken by somebody else."""
    stack = Stack(tmp_path_factory.mktemp("up") / ("long" * 40) / "data", api_port=taken_port)
    with stack.launcher:
        stack.launcher.wait_for_output("everything is up", timeout_seconds=START_SECONDS)
        yield stack


def test_run_json_describes_the_stack_to_its_owner_alone(stack: Stack, taken_port: int) -> None:
    path = stack.data_dir / "run.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    described = stack.described
    assert {role: len(pids) for role, pids in stack.pids.items()} == ROLES
    assert described["admin"]["username"] == "admin"
    assert described["webhook_secret"].startswith("whsec_")
    assert described["api_url"] != f"http://127.0.0.1:{taken_port}"
    assert f"port {taken_port} for api is taken" in stack.launcher.output
    for url in (f"{described['api_url']}/healthz", *described["metrics_urls"]):
        assert httpx.get(url, trust_env=False).status_code == 200, url


def test_flower_asks_for_the_password_of_the_administrator(stack: Stack) -> None:
    described = stack.described
    url = f"{described['flower_url']}/workers"
    assert httpx.get(url, trust_env=False).status_code == 401
    right = (described["admin"]["username"], described["admin"]["password"])
    assert httpx.get(url, auth=right, trust_env=False).status_code == 200
    assert httpx.get(url, auth=("admin", "wrong"), trust_env=False).status_code == 401


def test_a_registration_goes_all_the_way(stack: Stack) -> None:
    stack.works()


def test_the_doctor_finds_a_running_stack_healthy(stack: Stack) -> None:
    with stack.command("doctor", "--json") as doctor:
        code = doctor.wait(timeout_seconds=60)
        findings = json.loads(doctor.output)
    wrong = [finding for finding in findings["findings"] if finding["verdict"] == "wrong"]
    assert (code, wrong, findings["healthy"]) == (0, [], True)


def test_a_second_up_on_the_same_data_is_refused_and_harms_nothing(stack: Stack) -> None:
    before = stack.described
    with stack.command("up") as second:
        assert second.wait(timeout_seconds=30) == 1
        assert f"a stack is already running on {stack.data_dir} (launcher pid {stack.launcher.pid})" in second.output
        assert "Traceback" not in second.output
    assert stack.described == before
    stack.works()


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_killed_process_is_replaced_and_work_goes_on(stack: Stack, role: str) -> None:
    killed = stack.pids[role]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    def replaced() -> bool:
        # Read once: between two looks a process can have gone from the list.
        now = stack.pids.get(role, [])
        return len(now) == len(killed) and not set(killed) & set(now)

    wait_until(replaced, timeout_seconds=20)
    # The API may need a moment to listen, or to find the database again.
    wait_until(lambda: answers(f"{stack.described['api_url']}/readyz"), timeout_seconds=START_SECONDS)
    stack.works()


def test_a_launcher_killed_hard_leaves_nothing_running_and_its_data_serve_the_next_one(stack: Stack) -> None:
    journey_id = stack.works()
    identities = stack.identities()
    stack.launcher.send(signal.SIGKILL)
    stack.launcher.wait()
    wait_until(lambda: not [i for i in identities if i.process()], timeout_seconds=STOP_SECONDS)

    again = Stack(stack.data_dir, api_port=18000)
    with again.launcher:
        again.launcher.wait_for_output("everything is up", timeout_seconds=START_SECONDS)
        assert "shown this once" not in again.launcher.output
        assert again.journey_status(journey_id) == "succeeded"
        again.works()

        identities = again.identities()
        database_url = again.described["database_url"]
        started = time.monotonic()
        again.launcher.send(signal.SIGINT)
        assert again.launcher.wait(timeout_seconds=STOP_SECONDS) == 0
        assert time.monotonic() - started < STOP_SECONDS
    assert [i for i in identities if i.process()] == []
    assert not (again.data_dir / "run.json").exists()
    assert not Path(database_url.partition("?host=")[2]).parent.exists()


def test_a_stop_in_the_middle_of_the_start_leaves_nothing_behind(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "data", api_port=18000)
    with stack.launcher:
        stack.launcher.wait_for_output("starting agent-simulator")
        ledger = json.loads((stack.data_dir / "launcher.json").read_text())
        identities = [Identity(**entry) for entry in ledger["processes"]]
        assert identities
        stack.launcher.send(signal.SIGTERM)
        assert stack.launcher.wait(timeout_seconds=STOP_SECONDS) == 0
    assert [i for i in identities if i.process()] == []
    assert not Path(ledger["sockets"]).exists()
    assert not (stack.data_dir / "run.json").exists()
