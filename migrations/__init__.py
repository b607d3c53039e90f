"""Alembic migrations, and the function that runs them."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from core.settings import get_settings


def alembic_config() -> Config:
    """Return the configuration, independent of the directory the process runs in."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = get_settings().require_database_url()
    return config


def upgrade(revision: str = "head") -> None:
    """Bring the database to the revision. Safe to run from several processes: it takes an advisory lock."""
    command.upgrade(alembic_config(), revision)
