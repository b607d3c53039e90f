"""A migration lets the previous release go on: its code, taken from history, runs its journeys on today's schema."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import migrations

ROOT = Path(__file__).parents[2]
# The last commit before migration 0008. Move it on with each release.
PREVIOUS_RELEASE = "5bc6da5"


@pytest.fixture
def previous_code(tmp_path: Path) -> Path:
    """The previous release's tree, out of the repository's history."""
    archive = subprocess.run(["git", "archive", PREVIOUS_RELEASE], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {PREVIOUS_RELEASE} is not in this clone's history: fetch it to run this test")
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive.stdout, check=True)
    return tmp_path


def test_the_previous_release_works_on_todays_schema(previous_code: Path, database: str) -> None:
    script = ROOT / "tests" / "upgrade" / "previous_release.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=previous_code,
        env={**os.environ, "PYTHONPATH": str(previous_code)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout[done.stdout.index('{"code_at"') :])
    assert found == {
        "code_at": str(previous_code),
        "statuses": {"succeeded": 4, "failed": 1},
        "messages": 4,
        "dead_letters": 1,
    }


def test_a_newer_schema_is_fine_an_older_or_none_is_not(database: str) -> None:
    assert migrations.schema_problem("9999_from_the_next_release") is None
    assert "run `anmei migrate`" in str(migrations.schema_problem("0001"))
    assert "run `anmei migrate`" in str(migrations.schema_problem(None))
