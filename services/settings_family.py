"""Versioned settings: one mechanism for every family an administrator may change at run time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy.orm import Session

from core.database import unit_of_work
from core.snapshots import Snapshot
from models import SettingsVersion
from queries import settings as settings_queries

# The name under which every write to settings_versions is announced (migration 0001).
ANNOUNCED_AS = "settings"

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """Settings with the version they were read as; version 0 is the built-in default, never stored."""

    version: int
    values: T


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

    def on_change(self, notify: Callable[[Versioned[T]], None]) -> None:
        """Call `notify` with every version newly loaded in this process, on the thread that loaded it."""
        self._snapshot.on_change(notify)

    def change(self, values: dict[str, Any], *, actor: str, reason: str | None = None) -> Versioned[T]:
        """Write a new version and return it; every process follows at once. Raise pydantic.ValidationError for bad values.

        Takes the family's lock, so two changes at once become two versions, one after the other.
        """
        settings = self._model.model_validate(values)
        with unit_of_work() as session:
            version = settings_queries.lock_latest_version(session, self.name) + 1
            session.add(
                SettingsVersion(
                    name=self.name,
                    version=version,
                    data=settings.model_dump(mode="json"),
                    reason=reason,
                    created_by=actor,
                )
            )
        # The process that made the change follows it before it answers; the others hear of it.
        self._snapshot.reload()
        return Versioned(version, settings)

    def _load(self, session: Session) -> Versioned[T]:
        stored = settings_queries.find_current(session, self.name)
        if stored is None:
            return Versioned(0, self._model())
        return Versioned(stored.version, self._model.model_validate(stored.data))
