"""Our own processes in tests: started as a user would, their output kept, never left behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from core.settings import child_environment
from tests.support.waiting import wait_until
from worker.processes import kill_tree, tied


class OwnProcess:
    """One of our commands (`OwnProcess(["-m", "worker.cli", "api"])`) as a context manager; killed at the end if it still runs."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, object] | None = None) -> None:
        self.arguments = [sys.executable, "-P", *arguments]
        self._environment = child_environment(environment or {})
        descriptor, name = tempfile.mkstemp(prefix="anmei-test-", suffix=".log")
        self._output_file = os.fdopen(descriptor, "wb")
        self._output_path = Path(name)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            # Tied: a test run that is killed leaves nothing behind.
            tied(self.arguments, death_signal=signal.SIGTERM),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            kill_tree(self.pid)
            self.process.wait()
        self._output_file.close()
        self._output_path.unlink()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything it has written so far, both streams."""
        return self._output_path.read_text(errors="replace")

    def wait_for_output(self, text: str, *, timeout_seconds: float = 30) -> None:
        """Return once it has written the text; fail with all its output when it ends before or takes too long."""

        def written() -> bool:
            if text in self.output:
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {text!r}:\n{self.output}"
            return False

        wait_until(written, timeout_seconds=timeout_seconds)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, *, timeout_seconds: float = 60) -> int:
        """Return its exit code; fail with its output when it takes longer."""
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_seconds} s:\n{self.output}") from None
