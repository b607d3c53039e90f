"""Versioned settings: one mechanism for every family an administrator may change at run time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from core import log_events
from core.database import unit_of_work
from core.errors import ConflictError
from core.logging import get_logger
from core.snapshots import Snapshot
from models import SettingsVersion
from queries import settings as settings_queries
from services import audit

# The name under which every write to settings_versions is announced (migration 0001).
ANNOUNCED_AS = "settings"
# How far back a version that today's types can read is looked for.
TRIED_MOST = 50

log = get_logger(__name__)
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """Settings with the version they were read as; version 0 is the built-in default, never stored."""

    version: int
    values: T
    # The newest version where it is another one: today's types cannot read it, so the last one they can is run.
    refused: int | None = None


class SettingsFamily(Generic[T]):
    """One family of settings: typed, versioned, audited by its versions, current in every process within a second."""

    def __init__(self, name: str, model: type[T]) -> None:
        self.name = name
        self._model = model
        self._snapshot: Snapshot[Versioned[T]] = Snapshot(ANNOUNCED_AS, self._load)

    def current(self) -> T:
        """Return the settings in force in this process."""
        return self._snapshot.current().values

    def current_version(self) -> int:
        """Return the version this process runs."""
        return self._snapshot.current().version

    def running(self) -> Versioned[T]:
        """Return what this process runs, with the newer version it refused, if there is one."""
        return self._snapshot.current()

    def follow(self) -> None:
        """Take over the newest version now, without waiting to hear of it. Raises what reading it raises."""
        self._snapshot.reload()

    def on_change(self, notify: Callable[[Versioned[T]], None]) -> None:
        """Call `notify` with every version newly loaded in this process, on the thread that loaded it."""
        self._snapshot.on_change(notify)

    def change(
        self,
        values: dict[str, Any],
        *,
        actor: str,
        reason: str | None = None,
        expected_version: int | None = None,
        origin: str | None = None,
    ) -> Versioned[T]:
        """Write a new version and return it; every process follows at once. Raise pydantic.ValidationError for bad values.

        Takes the family's lock, so two changes at once become two versions, one after the other. With the version one
        read, ConflictError (VERSION_CONFLICT) where somebody wrote another since. Audited.
        """
        settings = self._model.model_validate(values)
        with unit_of_work() as session:
            written = self._write(session, settings, actor, reason, expected_version, origin)
        # The process that made the change follows it before it answers; the others hear of it.
        self._snapshot.reload()
        return written

    def roll_back(
        self, version: int, *, actor: str, expected_version: int | None = None, origin: str | None = None
    ) -> Versioned[T]:
        """Write an old version again, as a new one; version 0 are the built-in defaults. Raises what `change` raises.

        NotFoundError for a version that never was; one that does not fit today's types is refused, nothing is written.
        """
        with unit_of_work() as session:
            data = settings_queries.get_version(session, self.name, version).data if version > 0 else {}
            settings = self._model.model_validate(data)
            reason = f"rolled back to version {version}"
            written = self._write(session, settings, actor, reason, expected_version, origin)
        self._snapshot.reload()
        return written

    def validated(self, values: dict[str, Any]) -> T:
        """Return the values as they would be stored, writing nothing; raise pydantic.ValidationError."""
        return self._model.model_validate(values)

    def stored(self) -> Versioned[T]:
        """Return the newest version that can be read straight from the database, whatever this process runs."""
        with unit_of_work() as session:
            return self._load(session)

    def _write(
        self,
        session: Session,
        settings: T,
        actor: str,
        reason: str | None,
        expected_version: int | None,
        origin: str | None,
    ) -> Versioned[T]:
        latest = settings_queries.lock_latest_version(session, self.name)
        if expected_version is not None and expected_version != latest:
            raise ConflictError(f"version {latest} is in force, not {expected_version}", code="VERSION_CONFLICT")
        before = settings_queries.find_current(session, self.name)
        data = settings.model_dump(mode="json")
        session.add(SettingsVersion(name=self.name, version=latest + 1, data=data, reason=reason, created_by=actor))
        audit.record(
            session,
            actor=actor,
            action="settings.change",
            subject=f"settings:{self.name}",
            before={"version": latest, "values": before.data} if before else None,
            after={"version": latest + 1, "values": data, "reason": reason},
            origin=origin,
        )
        return Versioned(latest + 1, settings)

    def _load(self, session: Session) -> Versioned[T]:
        """Return the newest version today's types can read; the same one in every process, however long it has run.

        A version they cannot read was written by another release, or past this code.
        """
        newest = settings_queries.find_current(session, self.name)
        if newest is None:
            return Versioned(0, self._model())
        try:
            return Versioned(newest.version, self._model.model_validate(newest.data))
        except ValidationError as error:
            wrong = [".".join(map(str, one["loc"])) for one in error.errors(include_input=False, include_url=False)]
            log.error(log_events.SNAPSHOT_REFUSED, snapshot=self.name, version=newest.version, fields=wrong[:10])
        for older in settings_queries.list_versions(session, self.name, before=newest.id, limit=TRIED_MOST):
            try:
                return Versioned(older.version, self._model.model_validate(older.data), newest.version)
            except ValidationError:
                continue
        return Versioned(0, self._model(), newest.version)
