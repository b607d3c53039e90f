"""The processes of one contestant: started, known by role, waited for, and ended."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from core.settings import child_environment
from worker.processes import kill_tree, tied

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
_POLL_SECONDS = 0.05
# Kept: making one reads all certificates, which asking twenty times a second would take a core for.
_http = httpx.Client(timeout=2, trust_env=False)


class NotReadyError(Exception):
    """A process ended or did not come up; the text holds its last words."""


class Processes:
    """Named processes with a common environment; all are gone on exit."""

    def __init__(self, folder: Path, environment: Mapping[str, object]) -> None:
        self.folder = folder
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def start(self, name: str, *arguments: str, **environment: object) -> None:
        """Start one of our modules; its output goes to `<folder>/<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                tied([sys.executable, "-P", *arguments], death_signal=signal.SIGTERM),
                cwd=ROOT,
                env=child_environment(self.environment(**environment)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, *arguments: str) -> str:
        """Run one of our modules to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=ROOT,
            env=child_environment(self.environment()),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NotReadyError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def stop(self, name: str) -> None:
        process = self._running.pop(name)
        if process.poll() is None:
            kill_tree(process.pid)
            process.wait()

    def environment(self, **further: object) -> dict[str, object]:
        return {**self._environment, "PYTHONPATH": str(ROOT), **further}

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Return once it is ready; raise NotReadyError when a process ended or it takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                words = "\n".join(f"{name}: {self.last_words(name)}" for name in ended or self._running)
                raise NotReadyError(f"{what} did not come up\n{words}")
            time.sleep(_POLL_SECONDS)

    def wait_for_line(self, name: str, line: str) -> None:
        self.wait_until(lambda: line in (self.folder / f"{name}.log").read_text(errors="replace"), name)

    def last_words(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-1500:]


def answers(url: str) -> bool:
    """Tell whether a GET of the address answers 200."""
    try:
        return _http.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
