"""Named fault points: places where a crash test may kill, fail or delay the process. Off unless ANMEI_FAULTS arms them.

ANMEI_FAULTS holds comma-separated `point=action[:probability]`; actions are `kill` (SIGKILL to this process),
`raise` (a transient error), `full` (the disk-full error a write meets) and `sleep<milliseconds>`.
"""

import errno
import os
import random
import signal
import time
from functools import lru_cache
from typing import NamedTuple

from core.errors import TransientError
from core.settings import get_settings


class InjectedError(TransientError):
    """Raised by an armed fault point."""

    code = "INJECTED"


class _Armed(NamedTuple):
    action: str
    probability: float


def fault_point(name: str) -> None:
    """Do what the environment armed for this point; nothing at all in production."""
    armed = _armed().get(name)
    if armed is None or random.random() >= armed.probability:
        return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif armed.action == "raise":
        raise InjectedError(f"fault point {name}")
    elif armed.action == "full":
        raise OSError(errno.ENOSPC, f"fault point {name}")
    elif armed.action.startswith("sleep"):
        time.sleep(float(armed.action.removeprefix("sleep")) / 1000)


@lru_cache(maxsize=1)
def _armed() -> dict[str, _Armed]:
    points: dict[str, _Armed] = {}
    for part in filter(None, get_settings().faults.split(",")):
        name, _, action = part.partition("=")
        action, _, probability = action.partition(":")
        points[name.strip()] = _Armed(action.strip(), float(probability or 1))
    return points
