"""Child processes: how they are started, recognised again, and ended with everything they started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import psutil

_EXEC_CHILD = str(Path(__file__).with_name("exec_child.py"))
# Two readings of the same process's start differ by rounding only.
_SAME_START_SECONDS = 0.05


class Account(NamedTuple):
    """An account a child runs under, and the capability (capabilities(7)) it keeps there, if any."""

    uid: int
    gid: int
    capability: int | None = None


class Identity(NamedTuple):
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    started_at_seconds: float

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Return the identity of a running process; raise psutil.NoSuchProcess when there is none."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """Return the process while it runs; None once it ended, also when its pid went to another."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at_seconds) < _SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def tied(
    arguments: Sequence[str], *, death_signal: signal.Signals = signal.SIGTERM, account: Account | None = None
) -> list[str]:
    """Return the command line that runs `arguments` and sends it `death_signal` when this process dies.

    The thread that starts it must live as long as the process: the kernel looks at the thread (prctl(2)).
    """
    user = f"{account.uid}:{account.gid}" if account else "-"
    capability = str(account.capability) if account and account.capability is not None else "-"
    # -I -S: the wrapper needs the standard library only, and starts in a third of the time without the rest.
    python = [sys.executable, "-I", "-S", _EXEC_CHILD]
    return [*python, str(int(death_signal)), str(os.getpid()), user, capability, *arguments]


def spawn(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: IO[bytes] | int,
    death_signal: signal.Signals = signal.SIGTERM,
    account: Account | None = None,
) -> subprocess.Popen[bytes]:
    """Start a tied child in a session of its own; both its outputs go to `output`."""
    return subprocess.Popen(
        tied(arguments, death_signal=death_signal, account=account),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def end_tree(identity: Identity, *, soft_signal: signal.Signals, timeout_seconds: float) -> None:
    """End a process and its descendants: the signal first, SIGKILL for whatever is left after the timeout."""
    process = identity.process()
    if process is None:
        return
    family = [process, *_descendants(process)]
    _signal([process], soft_signal)
    deadline = time.monotonic() + timeout_seconds
    psutil.wait_procs([process], timeout=timeout_seconds)
    # Descendants normally leave with their parent; what the parent left behind gets the rest of the time.
    _, left = psutil.wait_procs(family, timeout=max(0.2, deadline - time.monotonic()))
    _signal(left, signal.SIGKILL)
    psutil.wait_procs(left, timeout=2)


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all its descendants at once."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    _signal([process, *_descendants(process)], signal.SIGKILL)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
