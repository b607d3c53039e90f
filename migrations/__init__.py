"""Alembic migrations, and the function that runs them."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from core.settings import get_settings


def alembic_config() -> Config:
    """Return the configuration, independent of the directory the process runs in."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = get_settings().require_database_url()
    return config


def schema_problem(current: str | None) -> str | None:
    """Return why this code cannot work on a schema at that revision, or None when it can.

    A revision this code does not know is a newer one: an upgrade is under way, and every migration lets the previous
    release go on (house rule; tests/upgrade).
    """
    scripts = ScriptDirectory.from_config(alembic_config())
    head = scripts.get_current_head()
    known = {script.revision for script in scripts.walk_revisions()}
    if current == head or (current is not None and current not in known):
        return None
    return f"the schema is at {current}, this release needs {head}: run `anmei migrate`"


def upgrade(revision: str = "head") -> None:
    """Bring the database to the revision. Safe to run from several processes: it takes an advisory lock."""
    command.upgrade(alembic_config(), revision)
