"""Every process says which version of the settings it runs, so that a change can be seen to have arrived everywhere."""

import os
import socket
import threading
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from core.database import unit_of_work
from core.errors import AnmeiError
from core.ids import new_id
from core.logging import get_logger
from core.snapshots import LISTENER_NAME, listener_pid
from queries import confirmations as queries
from queries.confirmations import Confirmation
from services.settings_admin import ALL_FAMILIES, family

BEAT_SECONDS = 5.0
# Three beats may be late before a process counts as silent.
SILENT_AFTER_SECONDS = 3 * BEAT_SECONDS
# A change reaches every process within a second; until then one that runs the version before is no finding.
SETTLE_SECONDS = 1.0
# How long a process that stops waits for its row to go; where the database is away, it is seen to be gone later.
LEAVE_SECONDS = 2.0

log = get_logger(__name__)


class State(StrEnum):
    CURRENT = "current"
    # The change is younger than SETTLE_SECONDS.
    FOLLOWING = "following"
    # Runs an older version although it had the time to follow.
    BEHIND = "behind"
    # Runs an older version because it cannot read the newest.
    REFUSED = "refused"
    # Connected, but does not report: it hangs, or was stopped.
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What one process runs of one family of settings; `since` is when it last took over a version of any."""

    role: str
    host: str
    pid: int
    version: int
    state: State
    since: datetime
    seen_seconds_ago: float


@dataclass(frozen=True, slots=True)
class Processes:
    """The newest version of one family of settings, and the processes that are there."""

    newest: int
    listed: list[ProcessState]

    @property
    def current(self) -> int:
        """How many run the newest version."""
        return sum(one.state is State.CURRENT for one in self.listed)


class _Confirmer:
    """The thread of one process that reports it; begun again in each forked child that asks for it."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._id = new_id()
        self.pid = os.getpid()
        self.woken = threading.Event()
        self.stopped = False
        self._thread = threading.Thread(target=self._run, name="settings-confirmer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.stopped = True
        self.woken.set()
        self._thread.join(LEAVE_SECONDS)

    def _run(self) -> None:
        while not self.stopped:
            self._report(self._write)
            self.woken.wait(BEAT_SECONDS)
            self.woken.clear()
        self._report(self._leave)

    def _report(self, deed: Any) -> None:
        try:
            deed()
        except (AnmeiError, SQLAlchemyError, ValidationError) as error:
            # The list then shows this process as silent, which is what is known of it.
            log.warning("settings_not_confirmed", error=type(error).__name__)

    def _write(self) -> None:
        running = {name: family.running() for name, family in ALL_FAMILIES.items()}
        with unit_of_work() as session:
            queries.write(
                session,
                id=self._id,
                role=self._role,
                host=socket.gethostname(),
                pid=self.pid,
                listener_pid=listener_pid(),
                versions={name: one.version for name, one in running.items()},
                refused={name: one.refused for name, one in running.items() if one.refused is not None},
            )
            queries.forget_gone(session, gone_seconds=SILENT_AFTER_SECONDS, listener_name=LISTENER_NAME)
            newest = queries.newest_versions(session)
        for name, one in running.items():
            if newest.get(name, 0) not in (one.version, one.refused):
                # Not heard of, or not yet: whatever became of the announcement, no process stays behind for long.
                ALL_FAMILIES[name].follow()

    def _leave(self) -> None:
        with unit_of_work() as session:
            queries.delete(session, self._id)


_confirmer: _Confirmer | None = None


def begin(role: str) -> None:
    """Report what this process runs from now on, at every change and every BEAT_SECONDS. Loads all settings. Idempotent."""
    global _confirmer
    if _confirmer is None or _confirmer.pid != os.getpid():
        _confirmer = _Confirmer(role)


def end() -> None:
    """Take this process off the list at once, instead of when its connection is seen to be gone. Idempotent."""
    global _confirmer
    confirmer, _confirmer = _confirmer, None
    if confirmer is not None and confirmer.pid == os.getpid():
        confirmer.stop()


def processes(name: str) -> Processes:
    """Return the newest version of these settings, and what each process runs; raise NotFoundError for unknown settings."""
    family(name, among=ALL_FAMILIES)
    with unit_of_work() as session:
        newest, age_seconds = queries.newest(session, name)
        found = queries.list_all(session, listener_name=LISTENER_NAME)
    listed = [one for one in found if one.connected or one.seen_seconds_ago <= SILENT_AFTER_SECONDS]
    settled = age_seconds > SETTLE_SECONDS
    return Processes(newest, [_state(one, name, newest, settled=settled) for one in listed])


def _state(one: Confirmation, name: str, newest: int, *, settled: bool) -> ProcessState:
    version = one.versions.get(name, 0)
    if one.seen_seconds_ago > SILENT_AFTER_SECONDS:
        state = State.SILENT
    elif version == newest:
        state = State.CURRENT
    elif one.refused.get(name) == newest:
        state = State.REFUSED
    else:
        state = State.BEHIND if settled else State.FOLLOWING
    return ProcessState(one.role, one.host, one.pid, version, state, one.changed_at, one.seen_seconds_ago)


def _wake(_: object) -> None:
    if _confirmer is not None and _confirmer.pid == os.getpid():
        _confirmer.woken.set()


for _family in ALL_FAMILIES.values():
    _family.on_change(_wake)
