"""API processes of their own, as in production: killed, stopped and asked through their ports."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from bench.processes import answers, free_port
from tests.support.waiting import START_SECONDS, wait_until

ROOT = Path(__file__).parents[2]


class ApiProcess:
    """One uvicorn process on a free port; ready when the constructor returns."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.log = log
        command = [sys.executable, "-m", "uvicorn", "--factory", "api_hooks.app:create_app", "--loop", "uvloop"]
        command += ["--port", str(self.port), "--no-access-log", "--timeout-graceful-shutdown", "5"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=log.open("wb"), stderr=subprocess.STDOUT)
        try:
            wait_until(self._answers, timeout_seconds=START_SECONDS)
        except BaseException:
            # Nobody else knows of it yet, so nobody else would end it.
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return answers(f"{self.url}/healthz")
