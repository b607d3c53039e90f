"""The launcher's files in the data directory: the lock, run.json, and what an earlier run left behind."""

import fcntl
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import psutil

from worker.embedded.sockets import remove_socket_directory
from worker.launcher.errors import AlreadyRunningError
from worker.processes import Identity, end_tree

ORPHAN_TIMEOUT_SECONDS = 5


def write_private(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old or the new whole, and nobody else reads it at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
    partial.replace(path)


class DataDirectoryLock:
    """Held by the one launcher of a data directory; the kernel lets go of it however that ends."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "launcher.lock"
        self._descriptor: int | None = None

    def acquire(self) -> Self:
        """Take the lock; raise AlreadyRunningError naming the holder."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunningError(
                f"a stack is already running on {self._path.parent} (launcher pid {holder}): "
                "stop that one first, or set another ANMEI_DATA_DIR"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Ledger:
    """Which processes and socket directory this run owns, kept so that the next run can clean up after a kill -9."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "launcher.json"
        self._sockets: Path | None = None

    def own_sockets(self, directory: Path) -> None:
        self._sockets = directory
        self.write([])

    def write(self, pids: Iterable[int]) -> None:
        """Record the running children by pid and start."""
        identities = []
        for pid in pids:
            try:
                identities.append(Identity.of(pid)._asdict())
            except psutil.NoSuchProcess:
                continue
        write_private(self._path, {"sockets": str(self._sockets or ""), "processes": identities})

    def clean_up(self) -> int:
        """End what an earlier run left running, remove its sockets; return how many processes were ended."""
        try:
            left = json.loads(self._path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return 0
        orphans = [identity for entry in left["processes"] if (identity := Identity(**entry)).process()]
        # In the order they were started, so backwards: what uses a server ends before the server.
        for identity in reversed(orphans):
            end_tree(identity, soft_signal=signal.SIGTERM, timeout_seconds=ORPHAN_TIMEOUT_SECONDS)
        if left["sockets"]:
            remove_socket_directory(Path(left["sockets"]))
        self._path.unlink(missing_ok=True)
        return len(orphans)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
