"""Who has the machine, where two processes share the tests: one that wants it alone waits for the others, and they for it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Machine:
    """A lock among the processes of one run, in a folder they share: held together, or alone. For one thread each."""

    def __init__(self, folder: Path) -> None:
        self._door = folder / "door"
        self._room = folder / "room"

    @contextmanager
    def held(self, *, alone: bool) -> Iterator[None]:
        """Wait for the machine and hold it. Whoever waits to be alone keeps the door shut, so that none comes before it."""
        with self._door.open("w") as door, self._room.open("w") as room:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(door, fcntl.LOCK_UN)
            yield
