"""`anmei user export|erase`, as somebody at a terminal uses them."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import structlog
from typer.testing import CliRunner

from core.clock import utc_now
from core.errors import NotFoundError
from services import webhook_secrets
from tests.personal.seeding import NAMES, VALUES, Seeded, found
from worker.cli import app

cli = CliRunner()


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """The commands send logs to the runner's stderr, which is closed afterwards."""
    before = structlog.get_config() if structlog.is_configured() else None
    yield
    structlog.reset_defaults()
    if before is not None:
        structlog.configure(**before)


def test_a_person_is_exported_and_erased_from_the_command_line(seeded: Seeded) -> None:
    exported = cli.invoke(app, ["user", "export", VALUES["external_id"]])
    assert json.loads(exported.stdout)["tables"]["users"][0]["email"] == VALUES["email"]
    command = ["user", "erase", VALUES["external_id"], "--reason", "asked"]
    refused = cli.invoke(app, command, input="n\n")
    assert (refused.exit_code, "users" in found(NAMES)) == (1, True)
    erased = cli.invoke(app, [*command, "--yes", "--json"])
    assert json.loads(erased.stdout)["rows"]["users"] == 1
    assert found(NAMES) == {}
    with pytest.raises(NotFoundError):
        cli.invoke(app, command, catch_exceptions=False)


def test_a_rotated_webhook_secret_signs_at_once_and_the_old_one_for_a_while(database: str) -> None:
    first = json.loads(cli.invoke(app, ["secrets", "rotate", "--webhook", "--json"]).stdout)
    second = json.loads(cli.invoke(app, ["secrets", "rotate", "--webhook", "--overlap-hours", "2", "--json"]).stdout)
    assert second["old_valid_hours"] == 2
    assert len({first["webhook_secret"], second["webhook_secret"]}) == 2
    rows = webhook_secrets.listed()
    valid = [webhook_secrets.is_valid(row, utc_now() + timedelta(hours=hours)) for row in rows for hours in (1, 3)]
    assert valid == [True, True, True, False]
