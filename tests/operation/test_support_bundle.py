"""`anmei support-bundle`: all that helps, nothing that must not leave the house."""

import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.operation.conftest import CUSTOMERS, Product
from tests.operation.test_logs import secrets_of

PLANTED = "geheimnis-4711-abcdef"


@pytest.fixture(scope="module")
def bundle(product: Product, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is in the archive by name; a log file full of what must not get out is added to it."""
    folder = tmp_path_factory.mktemp("bundle")
    log = folder / "container.log"
    lines = [" | ".join(person.private[1:]) for person in product.people]
    lines += [f"whatever {secret} else" for secret in secrets_of(product)]
    lines += [f"connecting to postgresql://anmei:{PLANTED}@db/anmei", "an ordinary line"]
    log.write_text("\n".join(lines))
    path = folder / "bundle.tar.gz"
    with product.stack.command("support-bundle", "--output", str(path), "--logs", str(log)) as command:
        assert command.wait(timeout_seconds=60) == 0, command.output
    assert path.stat().st_mode & 0o077 == 0
    return contents(path)


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            member.name.removeprefix("anmei-support/"): (archive.extractfile(member) or io.BytesIO()).read().decode()
            for member in archive.getmembers()
        }


def test_it_holds_what_helps(bundle: dict[str, str]) -> None:
    assert "missing.json" not in bundle, bundle.get("missing.json")
    assert json.loads(bundle["versions.json"])["packages"]["celery"]
    assert json.loads(bundle["settings.json"])["log_level"] == "DEBUG"
    assert json.loads(bundle["automation.json"])["settings"]["welcome_deadline_ms"] == 3000
    assert {one["verdict"] for one in json.loads(bundle["doctor.json"])} == {"ok"}
    assert (
        int(re.findall(r'registration_journeys_total\{outcome="succeeded"\} (\d+)', bundle["metrics.txt"])[0])
        >= CUSTOMERS
    )
    assert set(json.loads(bundle["queues.json"])) == {"journeys", "agents", "notifications", "maintenance"}
    head = json.loads(bundle["migrations.json"])[0]["revision"]
    assert json.loads(bundle["database/migration.json"]) == [{"version_num": head}]
    assert json.loads(bundle["database/dead_letters.json"]) == []
    journeys = {one["status"]: one["count"] for one in json.loads(bundle["database/journeys.json"])}
    assert journeys["succeeded"] >= CUSTOMERS
    assert len(json.loads(bundle["database/workers.json"])) == 2
    assert "automation_started" in bundle["logs/stack.log"]
    assert "an ordinary line" in bundle["logs/container.log"]
    assert {"logs/postgres.log", "logs/redis.log"} <= bundle.keys()


def test_it_holds_nobodys_data(product: Product, bundle: dict[str, str]) -> None:
    everything = "\n".join(bundle.values())
    assert [one for person in product.people for one in person.private if one in everything] == []


def test_it_holds_no_secret(product: Product, bundle: dict[str, str]) -> None:
    everything = "\n".join(bundle.values())
    assert [secret[:12] for secret in [*secrets_of(product), PLANTED] if secret in everything] == []


def test_it_is_written_too_where_nothing_answers(product: Product, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    environment = product.stack.environment | {
        "ANMEI_DATA_DIR": tmp_path / "data",
        "ANMEI_DATABASE_URL": f"postgresql://anmei:{PLANTED}@127.0.0.1:9/anmei",
        "ANMEI_BROKER_URL": f"redis://:{PLANTED}@127.0.0.1:9/0",
    }
    from tests.support.processes import OwnProcess

    with OwnProcess(["-m", "worker.cli", "support-bundle", "--output", str(path)], environment) as command:
        assert command.wait(timeout_seconds=60) == 0, command.output
        assert PLANTED not in command.output
    found = contents(path)
    missing = json.loads(found["missing.json"])
    assert {"queues.json", "database/journeys.json"} <= missing.keys()
    assert {"versions.json", "settings.json", "doctor.json"} <= found.keys()
    assert PLANTED not in "\n".join(found.values())
