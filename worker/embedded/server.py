"""One embedded server: how it is started, known to be ready, and stopped."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.embedded.errors import EmbeddedServerError
from worker.processes import Account, Identity, end_tree, spawn

# Recovery after a crash replays what the log holds; that may take a while.
READY_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 10
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Server:
    """A server that can be started any number of times; where its sockets are never changes."""

    role: str
    arguments: list[str]
    environment: Mapping[str, str]
    account: Account | None
    stop_signal: signal.Signals
    log_file: Path
    url: str
    # Asks the server itself, briefly; never raises for one that is not there yet.
    is_ready: Callable[[], bool]

    def start(self) -> subprocess.Popen[bytes]:
        """Start it as a child that stops when this process dies; its output goes to the log file."""
        self.log_file.touch(mode=0o600)
        with self.log_file.open("ab") as output:
            return spawn(
                self.arguments,
                environment=self.environment,
                output=output,
                death_signal=self.stop_signal,
                account=self.account,
            )

    def wait_until_ready(self, child: subprocess.Popen[bytes]) -> None:
        """Return once it serves; raise EmbeddedServerError with its last words when it ended or took too long."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not self.is_ready():
            if child.poll() is not None:
                raise EmbeddedServerError(f"{self.role} ended with code {child.returncode}:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"{self.role} was not ready within {READY_TIMEOUT_SECONDS} s:\n{self.last_words()}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, child: subprocess.Popen[bytes], timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Stop it cleanly, by force after the timeout."""
        if child.poll() is None:
            end_tree(Identity.of(child.pid), soft_signal=self.stop_signal, timeout_seconds=timeout_seconds)
            child.wait()

    def last_words(self) -> str:
        """Return the end of its log."""
        try:
            return self.log_file.read_text(errors="replace").strip()[-1500:]
        except FileNotFoundError:
            return ""
