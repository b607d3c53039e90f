"""The launcher's files: private, whole, and enough to clean up after a kill -9."""

import io
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import Settings
from worker.launcher.console import PrefixedConsole
from worker.launcher.errors import AlreadyRunningError
from worker.launcher.files import DataDirectoryLock, Ledger, write_private
from worker.launcher.plan import choose_ports
from worker.launcher.ports import PortChooser
from worker.processes import Identity


def test_a_second_launcher_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    first = DataDirectoryLock(tmp_path).acquire()
    with pytest.raises(AlreadyRunningError, match=rf"launcher pid {os.getpid()}\)"):
        DataDirectoryLock(tmp_path).acquire()
    first.release()
    DataDirectoryLock(tmp_path).acquire().release()


def test_private_files_are_replaced_whole_and_read_by_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_private(path, {"version": 1})
    write_private(path, {"version": 2})
    assert json.loads(path.read_text()) == {"version": 2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_an_earlier_runs_processes_are_ended_and_its_sockets_removed(tmp_path: Path) -> None:
    sockets = tmp_path / "anmei-sockets"
    sockets.mkdir()
    orphan = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    earlier = Ledger(tmp_path)
    earlier.own_sockets(sockets)
    earlier.write([orphan.pid])

    assert Ledger(tmp_path).clean_up() == 1

    assert orphan.poll() is not None
    assert not sockets.exists()
    assert Ledger(tmp_path).clean_up() == 0


def test_a_stranger_that_got_an_old_pid_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    identity = Identity.of(stranger.pid)._asdict() | {"started_at_seconds": 1000.0}
    write_private(tmp_path / "launcher.json", {"sockets": "", "processes": [identity]})

    assert Ledger(tmp_path).clean_up() == 0

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_taken_port_moves_to_the_next_free_one_and_says_so() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        settings = Settings(api_port=taken, mcp_port=taken, flower_port=taken, metrics_port=taken)
        chooser = PortChooser("127.0.0.1", said.append)
        ports = choose_ports(settings, chooser)
    chosen = [ports.api, ports.mcp, ports.flower, ports.metrics, ports.agent_simulator, ports.push_simulator]
    assert taken not in chosen
    assert len(set(chosen)) == 6
    rival = PortChooser("127.0.0.1", said.append)
    assert rival.wanted(ports.api, "api") != ports.api
    rival.release()
    chooser.release()
    assert f"port {taken} for api is taken: using {ports.api}" in said


def test_a_promised_port_is_free_again_after_release() -> None:
    first, second = PortChooser("127.0.0.1", lambda _: None), PortChooser("127.0.0.1", lambda _: None)
    port = first.any()
    first.release()
    assert second.wanted(port, "api") == port
    second.release()


def test_console_lines_are_prefixed_and_json_lines_pass_as_they_are() -> None:
    stream = io.StringIO()
    console = PrefixedConsole(stream)
    console.say("up")
    console.child_line("api", '{"event": "started"}')
    assert stream.getvalue() == 'anmei           | up\napi             | {"event": "started"}\n'

    stream = io.StringIO()
    console = PrefixedConsole(stream, json_logs=True)
    console.say("up")
    console.child_line("api", '{"event": "started"}')
    said, passed = map(json.loads, stream.getvalue().splitlines())
    assert (said["role"], said["message"]) == ("anmei", "up")
    assert passed == {"event": "started"}
