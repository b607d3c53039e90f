"""What a whole run leaves in the logs: what happened to whom, and nobody's data."""

import json
import re
from typing import Any

import pytest

from core.masking import masked_text
from tests.operation.conftest import CUSTOMERS, Product
from worker.launcher.console import KEPT_FILE

PASSWORD_SHOWN = re.compile(r".*password of \w+, shown this once.*")


@pytest.fixture(scope="module")
def output(product: Product) -> str:
    """Everything all processes wrote at the lowest level, without the passwords the launcher shows at the first start."""
    return PASSWORD_SHOWN.sub("", product.stack.launcher.output)


def secrets_of(product: Product) -> list[str]:
    described = product.stack.described
    key = (product.stack.data_dir / "secret.key").read_text().strip()
    people = [described["admin"], *described["consultants"]]
    found = [key, described["webhook_secret"], *(one["password"] for one in people)]
    with product.stack.command("mcp", "client-config", "customer_tools", "--for", "dify") as command:
        assert command.wait() == 0, command.output
        found += re.findall(r"mcp_key_[\w-]{20,}", command.output)
    assert len(found) >= 6
    return found


def test_no_log_line_holds_personal_data(product: Product, output: str) -> None:
    assert len(output.splitlines()) > CUSTOMERS * 5
    assert [one for person in product.people for one in person.private if one in output] == []


def test_no_log_line_holds_a_key_or_a_password(product: Product, output: str) -> None:
    assert [secret[:12] for secret in secrets_of(product) if secret in output] == []
    assert re.findall(r"(?:mcp_key_|whsec_|app-|jrn_)[\w-]{8,}", output) == []


def test_each_step_of_each_journey_has_its_line(product: Product, output: str) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    for event, fields in {
        "automation_started": {"user_id", "username", "journey_id", "trace_id"},
        "conversation_created": {"conversation_id", "journey_id", "trace_id"},
        "welcome_generated": {"message_id", "journey_id", "written_by"},
        "consultants_notified": {"count", "journey_id"},
    }.items():
        found = [line for line in lines if line["event"] == event]
        assert {line["journey_id"] for line in found} == product.journeys, event
        assert all(fields <= line.keys() for line in found), event
        assert {line["level"] for line in found} == {"info"}
    named = [line for line in lines if "trace_id" in line]
    assert all(line["trace_id"] == line["journey_id"].replace("-", "") for line in named)


def test_the_launcher_keeps_the_last_lines_without_passwords(product: Product) -> None:
    kept = product.stack.data_dir / KEPT_FILE
    text = kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    assert "automation_started" in text
    assert "password of admin, shown this once: ***" in text
    assert [secret[:12] for secret in secrets_of(product) if secret in text] == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Failing row contains (1, 小美, 13800001111).", "Failing row contains (***)"),
        ("Failing row contains (1, 小美 (美容) 王).\nnext", "Failing row contains (***)\nnext"),
        ("Failing row contains (1, :), 小美, 上海市).\nnext", "Failing row contains (***)\nnext"),
        ('Key (email)=(a@example.com) already exists "a@example.com"', "Key (email)=(***)"),
        ("Key (username)=(小美) 王) already exists.", "Key (username)=(***)"),
        ("Key (lower(username), source)=(小美, 微信) already exists.", "Key (lower(username), source)=(***)"),
        ("Key (username)=(***) 小美) already exists.", "Key (username)=(***)"),
        ("call +86 138 0000 1111 or 13800001111", "call *** or ***"),
        ("postgresql://anmei:geheim@db:5432/anmei", "postgresql://anmei:***@db:5432/anmei"),
        ("Authorization: Bearer mcp_key_abcdefghijkl", "Authorization: Bearer ***"),
        ("refresh eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "refresh ***"),
        ("password=hunter22 next", "password=*** next"),
        # What must stay readable.
        ("journey 01a1fc4e-6c12-730d-9df1-3ab1427b3b9a took 1380000 ms", None),
        ("2026-11-20T08:00:00.123456Z attempt 3 of 13800001111222333", None),
        (r'{"error": "DETAIL: Failing row contains (***)\nnext", "attempt": 3}', None),
        ('{"error": "DETAIL: Key (username)=(***)", "attempt": 3}', None),
    ],
)
def test_free_text_loses_what_is_private_and_nothing_else(text: str, masked: str | None) -> None:
    assert masked_text(text) == (masked or text)
