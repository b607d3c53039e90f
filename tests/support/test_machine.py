"""The lock by which two processes share the machine."""

import fcntl
import threading
from pathlib import Path

from tests.support.machine import Machine
from tests.support.waiting import wait_until


class Visitor:
    """A thread that holds the machine from when it gets it until it is let go."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self.inside = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(Machine(folder), alone))
        self._thread.start()

    def _visit(self, machine: Machine, alone: bool) -> None:
        with machine.held(alone=alone):
            self.inside.set()
            self._leave.wait(30)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(30)


def test_it_is_shared_until_somebody_wants_it_alone(tmp_path: Path) -> None:
    first, second = Visitor(tmp_path, alone=False), Visitor(tmp_path, alone=False)
    assert first.inside.wait(10)
    assert second.inside.wait(10)
    alone = Visitor(tmp_path, alone=True)
    wait_until(lambda: _is_shut(tmp_path))
    late = Visitor(tmp_path, alone=False)

    first.leave()
    assert not alone.inside.is_set()
    second.leave()
    assert alone.inside.wait(10)
    assert not late.inside.is_set()
    alone.leave()
    assert late.inside.wait(10)
    late.leave()


def _is_shut(folder: Path) -> bool:
    """Tell whether somebody keeps the door."""
    with (folder / "door").open("w") as door:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
