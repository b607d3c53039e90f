"""Seeding of a local stack, and the file that remembers the passwords made there."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from services import mcp_groups, mcp_seed
from services import seed as seed_service
from worker.launcher.files import write_private

ADMIN = seed_service.ADMIN
CONSULTANTS = tuple(seed_service.DEMO_CONSULTANTS)
# The group of the welcome agent (contract section 5).
AGENT_GROUP = "customer_tools"
CREDENTIALS_FILE = "credentials.json"


@dataclass(frozen=True)
class Seeded:
    """What the processes and the person at the console are told. Passwords by name, where they are known here."""

    webhook_secret: SecretStr
    agent_key: SecretStr
    mcp_key: SecretStr
    passwords: dict[str, SecretStr]
    new_passwords: dict[str, SecretStr]


def seed(data_dir: Path, *, agent_url: str, push_url: str) -> Seeded:
    """Seed the migrated database for a stack with these simulators. Safe to repeat at every start."""
    seeded = seed_service.ensure_seed()
    agent_key = SecretStr("app-" + secrets.token_hex(12))
    seed_service.ensure_simulated_agent(agent_url, agent_key)
    new = seed_service.ensure_demo_consultants(push_url)
    if seeded.admin_password is not None:
        new = {ADMIN: seeded.admin_password, **new}
    return Seeded(
        webhook_secret=seeded.webhook_secret,
        agent_key=agent_key,
        mcp_key=_mcp_key(),
        passwords=_remember(data_dir / CREDENTIALS_FILE, new),
        new_passwords=new,
    )


def _mcp_key() -> SecretStr:
    mcp_seed.ensure_seed()
    return mcp_groups.reveal_key(AGENT_GROUP, "launcher")


def read_credentials(data_dir: Path) -> dict[str, SecretStr]:
    """Return the passwords this data directory's first start made. They may have been changed since."""
    try:
        stored = json.loads((data_dir / CREDENTIALS_FILE).read_text())
    except FileNotFoundError:
        return {}
    return {name: SecretStr(password) for name, password in stored.items()}


def _remember(path: Path, new: dict[str, SecretStr]) -> dict[str, SecretStr]:
    """Keep the generated passwords (the database holds only hashes), and return those that still fit."""
    known = read_credentials(path.parent) | new
    fitting = seed_service.passwords_that_fit(known)
    if new:
        write_private(path, {name: password.get_secret_value() for name, password in fitting.items()})
    return fitting
