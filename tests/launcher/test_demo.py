"""`anmei demo` as a user runs it, and the small verbs of the command line."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from core import snapshots
from core.crypto import forget_keys, lookup_hash
from core.database import unit_of_work
from core.settings import get_settings
from models import Agent
from queries.auth import find_login
from services import secret_rotation, seed
from services.agents import known
from tests.support.factories import create_agent
from tests.support.processes import OwnProcess


# A stack starts, works and stops in it: half a minute alone, several on a machine shared with others.
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_the_demo_takes_every_registration_to_its_end_and_leaves_nothing_running(tmp_path: Path) -> None:
    # The environment's servers are the tests' own: a demo must not touch what is configured.
    with OwnProcess(["-m", "worker.cli", "demo", "-n", "4"], {"ANMEI_DATA_DIR": tmp_path}) as demo:
        code = demo.wait(timeout_seconds=280)
        output = demo.output
    assert code == 0, output
    assert re.search(r"succeeded\s+│ 4 ", output), output
    assert re.search(r"failed\s+│ 0 ", output), output
    assert "the registration was accepted and committed" in output
    assert "the journey ended well" in output
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["demo.log", "launcher.lock"]
    with unit_of_work() as session:
        assert session.query(Agent).count() == 0


def test_help_is_there_at_once_and_imports_nothing_heavy() -> None:
    code = "import sys, worker.cli; print([m for m in ('sqlalchemy', 'celery', 'fastapi', 'httpx', 'rich') if m in sys.modules])"
    with OwnProcess(["-c", code]) as command:
        assert command.wait() == 0
        assert command.output == "[]\n"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"ANMEI_API_PORT": "many"}, "ANMEI_API_PORT: Input should be a valid integer"),
        ({"ANMEI_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "the database refuses: connection failed"),
        ({"ANMEI_BIND": "192.0.2.1"}, "ANMEI_BIND=192.0.2.1 is not an address of this machine"),
        ({"ANMEI_DATA_DIR": "/proc/none"}, "/proc/none"),
    ],
)
def test_what_keeps_up_from_starting_is_one_message(environment: dict[str, object], says: str, tmp_path: Path) -> None:
    with OwnProcess(["-m", "worker.cli", "up"], {"ANMEI_DATA_DIR": tmp_path, **environment}) as command:
        assert command.wait(timeout_seconds=60) == 1
        assert says in command.output
        assert "Traceback" not in command.output


def test_the_doctor_names_the_variable_to_mend() -> None:
    with OwnProcess(["-m", "worker.cli", "doctor", "--json"], {"ANMEI_LOG_FORMAT": "loud"}) as doctor:
        assert doctor.wait() == 1
        [finding] = json.loads(doctor.output)["findings"]
    assert (finding["check"], finding["verdict"]) == ("settings", "wrong")
    assert "ANMEI_LOG_FORMAT" in finding["remedy"]


def test_the_doctor_says_what_to_do_about_a_database_that_is_away() -> None:
    away = {"ANMEI_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    with OwnProcess(["-m", "worker.cli", "doctor", "--json"], away) as doctor:
        assert doctor.wait(timeout_seconds=60) == 1
        findings = {finding["check"]: finding for finding in json.loads(doctor.output)["findings"]}
    assert findings["database"]["verdict"] == "wrong"
    assert "ANMEI_DATABASE_URL" in findings["database"]["remedy"]
    assert findings["redis"]["verdict"] == "ok"


def test_seeding_twice_makes_one_of_everything_and_keeps_the_password() -> None:
    first, second = seed.ensure_seed(), seed.ensure_seed()
    assert first.admin_password is not None
    assert second.admin_password is None
    assert second.webhook_secret == first.webhook_secret
    assert seed.passwords_that_fit({"admin": first.admin_password}) == {"admin": first.admin_password}
    assert seed.passwords_that_fit({"admin": SecretStr("another")}) == {}


def test_the_simulated_agent_follows_its_port_but_never_replaces_a_real_one() -> None:
    assert seed.ensure_simulated_agent("http://127.0.0.1:1/v1", SecretStr("app-1"))
    assert seed.ensure_simulated_agent("http://127.0.0.1:2/v1", SecretStr("app-2"))
    # The announcement would arrive in milliseconds; the test does not wait for it.
    snapshots.forget_all()
    [agent] = known()
    assert (agent.name, agent.target.base_url) == ("welcome", "http://127.0.0.1:2/v1")

    with unit_of_work() as session:
        stored = session.get_one(Agent, agent.agent_id)
        stored.app_id, stored.base_url = "our-app", "https://dify.example.com/v1"
    assert not seed.ensure_simulated_agent("http://127.0.0.1:3/v1", SecretStr("app-3"))
    with unit_of_work() as session:
        assert session.get_one(Agent, agent.agent_id).base_url == "https://dify.example.com/v1"


def test_rotating_puts_every_secret_under_the_first_key(monkeypatch: pytest.MonkeyPatch) -> None:
    create_agent(api_key="app-kept")
    found_by = lookup_hash(SecretStr("mcp_key_x"))
    old = get_settings().require_secret_key().get_secret_value()
    monkeypatch.setattr(get_settings(), "secret_key", SecretStr(f"new-key,{old}"))
    forget_keys()
    try:
        counts = secret_rotation.reencrypt_all(actor="test")
        assert counts["agents.api_key_encrypted"] == 1
        monkeypatch.setattr(get_settings(), "secret_key", SecretStr("new-key"))
        forget_keys()
        [agent] = known()
        assert agent.target.api_key.get_secret_value() == "app-kept"
        assert lookup_hash(SecretStr("mcp_key_x")) == found_by
    finally:
        monkeypatch.undo()
        forget_keys()


def test_a_user_made_on_the_command_line_can_sign_in_and_get_a_new_password() -> None:
    seed.ensure_seed()
    with OwnProcess(["-m", "worker.cli", "user", "create", "anna", "--role", "consultant", "--json"]) as command:
        assert command.wait() == 0, command.output
        first = SecretStr(json.loads(command.output)["password"])
    assert seed.passwords_that_fit({"anna": first}) == {"anna": first}
    with unit_of_work() as session:
        user = find_login(session, "anna")
    assert user is not None
    assert user.roles == ["consultant"]

    with OwnProcess(["-m", "worker.cli", "user", "create", "anna"]) as command:
        assert command.wait() == 1
        assert "taken" in command.output
    with OwnProcess(["-m", "worker.cli", "user", "password", "anna", "--json"]) as command:
        assert command.wait() == 0, command.output
        second = SecretStr(json.loads(command.output)["password"])
    assert seed.passwords_that_fit({"anna": first}) == {}
    assert seed.passwords_that_fit({"anna": second}) == {"anna": second}
