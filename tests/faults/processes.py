"""The processes of one stack under test, each started again when it dies, as a launcher would."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
WATCH_SECONDS = 0.1
RESTART_SECONDS = 0.3


@dataclass
class Role:
    """One process: how it is started, and the one that runs now."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    # A role that is held down is not started again until it is let up.
    held: bool = field(default=False)

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[psutil.Process]:
        """Return the pool's children (prefork), none for other roles."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill_all(self) -> None:
        """SIGKILL to the process and everything below it."""
        children = self.children()
        _kill(self.pid)
        for child in children:
            _kill(child.pid)

    def kill_main(self) -> None:
        _kill(self.pid)

    def kill_a_child(self) -> None:
        children = self.children()
        if children:
            _kill(children[time.monotonic_ns() % len(children)].pid)

    def stop(self, seconds: float = 15.0) -> float:
        """SIGTERM, and SIGKILL after so many seconds; return how long it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            self.process.wait(5)
        return time.monotonic() - began


class Supervisor:
    """Starts roles and starts them again when they die."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}
        self._stopped = threading.Event()
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self, roles: Sequence[Role]) -> None:
        for role in roles:
            self.roles[role.name] = role
            role.start()
        self._thread.start()

    def hold(self, name: str) -> None:
        """Kill the role and keep it down."""
        with self._lock:
            self.roles[name].held = True
            self.roles[name].kill_all()

    def let_up(self, name: str) -> None:
        with self._lock:
            self.roles[name].held = False

    def restart_softly(self, name: str) -> float:
        """SIGTERM as for an upgrade; return how long it took to stop. The watch starts the next one."""
        with self._lock:
            return self.roles[name].stop()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for role in self.roles.values():
            if role.process is not None and role.process.poll() is None:
                role.kill_all()
                role.process.wait(5)

    def _watch(self) -> None:
        died: dict[str, float] = {}
        while not self._stopped.wait(WATCH_SECONDS):
            with self._lock:
                for name, role in self.roles.items():
                    if role.held or role.process is None or role.process.poll() is None:
                        died.pop(name, None)
                    elif time.monotonic() - died.setdefault(name, time.monotonic()) >= RESTART_SECONDS:
                        role.start()
                        died.pop(name, None)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
