"""`anmei support-bundle`: what somebody who helps needs to see, without what they must not see."""

import io
import json
import os
import platform
import sys
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from core.clock import utc_now
from core.errors import AnmeiError
from core.masking import masked_text
from core.settings import MissingSettingError, Settings, get_settings
from worker.launcher.console import KEPT_FILE

STANDARD_OUTPUT = Path("-")
LOG_LINES = 5_000
# Shorter ones are no secrets, and blanking them out would blank half the text.
SHORTEST_SECRET = 6

README = """\
What is in here was gathered by `anmei support-bundle`: versions, settings, what `anmei doctor` found, the metrics page, the
state of schema, queues and dead letters, and the last log lines. Secrets, passwords, keys, names, e-mail addresses and phone
numbers were taken out or masked; look through it all the same before it leaves the house. `missing.json`, if there is one,
says what could not be gathered and why.
"""


def write_bundle(path: Path, logs: Sequence[Path]) -> list[str]:
    """Write the archive, readable by its owner alone; return the names of what is in it. `-` is standard output.

    `logs` are further log files (of containers, say). Parts that cannot be read are named in missing.json.
    """
    settings = get_settings()
    secrets = _known_secrets(settings)
    missing: dict[str, str] = {}
    descriptor = os.dup(1) if path == STANDARD_OUTPUT else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w|gz") as archive:
        for name, gather in _parts(settings, logs):
            try:
                gathered = gather()
            except (AnmeiError, SQLAlchemyError, MissingSettingError, OSError) as error:
                missing[name] = masked_text(f"{type(error).__name__}: {error}".splitlines()[0], secrets)
                continue
            _add(archive, name, masked_text(_as_text(gathered), secrets))
        if missing:
            _add(archive, "missing.json", _as_text(missing))
        return archive.getnames()


def _parts(settings: Settings, logs: Sequence[Path]) -> Iterator[tuple[str, Callable[[], Any]]]:
    from queries import support

    yield "README.txt", lambda: README
    yield "versions.json", _versions
    yield "settings.json", lambda: _settings(settings)
    yield "automation.json", _automation
    yield "doctor.json", _doctor
    yield "metrics.txt", _metrics
    yield "queues.json", lambda: _queues(settings)
    yield "migrations.json", _migrations
    for part in support.PARTS:
        yield f"database/{part}.json", partial(_database, part)
    kept = [settings.data_dir / name for name in (KEPT_FILE, "postgres.log", "redis.log")]
    for log in [*(one for one in kept if one.exists()), *logs]:
        yield f"logs/{log.name}", partial(_last_lines, log)


def _versions() -> dict[str, Any]:
    packages = {one.metadata["Name"]: one.version for one in distributions()}
    return {
        "python": sys.version,
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
        "packages": dict(sorted(packages.items())),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    # A SecretStr shows itself masked; passwords inside addresses are taken out with everything else.
    return {name: str(value) for name, value in settings.model_dump(exclude={"faults"}).items()}


def _automation() -> dict[str, Any]:
    from services import automation

    return {"version": automation.current_version(), "settings": automation.current().model_dump(mode="json")}


def _doctor() -> list[dict[str, Any]]:
    from worker.doctor import examine

    return [finding._asdict() | {"verdict": finding.verdict.value} for finding in examine()]


def _metrics() -> str:
    from services import figures

    return figures.render().decode()


def _queues(settings: Settings) -> dict[str, int]:
    from clients import broker
    from services.journey_plan import Queue

    return broker.queue_lengths(settings.require_broker_url(), list(Queue))


def _migrations() -> list[dict[str, str]]:
    from alembic.script import ScriptDirectory

    import migrations

    scripts = ScriptDirectory.from_config(migrations.alembic_config()).walk_revisions()
    return [{"revision": script.revision, "about": script.doc} for script in scripts]


def _database(part: str) -> list[dict[str, Any]]:
    from core.database import unit_of_work
    from queries import support

    with unit_of_work() as session:
        return support.read_part(session, part)


def _last_lines(log: Path) -> str:
    with log.open(errors="replace") as file:
        return "".join(deque(file, maxlen=LOG_LINES))


def _known_secrets(settings: Settings) -> list[str]:
    """Return every secret there is to be found here, the longest first, so that none is left of one inside another."""
    found = set(settings.secret_key.get_secret_value().split(",")) if settings.secret_key else set()
    key_file = settings.data_dir / "secret.key"
    if key_file.exists():
        found.add(key_file.read_text().strip())
    running = settings.running()
    found.add(running.get("webhook_secret", ""))
    found |= {one.get("password") or "" for one in running.values() if isinstance(one, dict)}
    found |= {one.get("password") or "" for one in running.get("consultants", []) if isinstance(one, dict)}
    found |= set(_stored_secrets())
    return sorted((one for one in found if len(one) >= SHORTEST_SECRET), key=len, reverse=True)


def _stored_secrets() -> Iterator[str]:
    from core.crypto import UndecryptableError, decrypt
    from core.database import unit_of_work
    from models import Base
    from queries.seed import list_encrypted
    from services.secret_rotation import encrypted_columns

    try:
        with unit_of_work() as session:
            for table, column in encrypted_columns(Base.metadata):
                for _, token in list_encrypted(session, table, column):
                    try:
                        yield decrypt(token).get_secret_value()
                    except UndecryptableError:
                        # Then no log can hold it as text of ours either.
                        continue
    except (AnmeiError, SQLAlchemyError, MissingSettingError):
        return


def _as_text(gathered: Any) -> str:
    if isinstance(gathered, str):
        return gathered
    return json.dumps(gathered, ensure_ascii=False, indent=1, default=str) + "\n"


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    about = tarfile.TarInfo(f"anmei-support/{name}")
    about.size, about.mtime, about.mode = len(content), int(time.time()), 0o600
    archive.addfile(about, io.BytesIO(content))


def default_path() -> Path:
    """Return a name of its own for an archive made now, in the directory one is in."""
    return Path(f"anmei-support-{utc_now():%Y%m%dT%H%M%SZ}.tar.gz")
