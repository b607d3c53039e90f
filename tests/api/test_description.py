"""What the OpenAPI description allows, asked over HTTP: no failure of ours, no answer that the description does not know.

The suite asks some thousand cases, the same each time. `pytest tests/api/test_description.py --hypothesis-profile long` asks
many more, others each time.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi_checks
from sqlalchemy import select

from core.database import unit_of_work
from models import Message, Tool
from services import auth, mcp_seed
from tests.api.conftest import Person, SignIn
from tests.api.processes import ApiProcess
from tests.api.test_every_route import OPEN, allowed
from tests.personal.seeding import Seeded, seed
from tests.support.factories import create_push_channel

# Of hypothesis' own hundred, per operation: as many within the description, half as many beside it.
SHARE = 0.06
CHECKS = [
    not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.response_headers_conformance,
]
# Ends the session of whoever asks.
LEFT_OUT = {("POST", "/api/v1/auth/logout")}


@dataclass
class Asked:
    """What was sent, and what came of it."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    number: Iterator[int] = field(default_factory=count)


def ids_of(seeded: Seeded) -> dict[str, str]:
    with unit_of_work() as session:
        tool = session.scalars(select(Tool).order_by(Tool.id)).first()
        assert tool is not None
        welcome = session.scalars(select(Message.id).where(Message.journey_id == seeded.journey.id)).one()
    return {
        "journey_id": str(seeded.journey.id),
        "conversation_id": seeded.conversation_id,
        "dead_letter_id": seeded.letter_id,
        "message_id": str(welcome),
        "user_id": str(seeded.other.id),
        "agent_id": str(seeded.agent.id),
        "consultant_id": str(seeded.consultant.id),
        "channel_id": str(create_push_channel(seeded.consultant, "http://127.0.0.1:9/").id),
        "tool_id": str(tool.id),
        "group_id": str(tool.group_id),
        "name": "registration-automation",
    }


def customer_of(seeded: Seeded, operator: Person) -> Person:
    user = seeded.user
    minted_by = auth.identify(SecretStr(operator.token))
    return Person(
        user.id, user.username, auth.open_customer_session(str(user.external_id), minted_by=minted_by, origin="test")
    )


@pytest.mark.timeout(3600)
def test_nothing_is_answered_that_the_description_does_not_know(
    app: FastAPI, sign_in: SignIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeded = seed()
    mcp_seed.ensure_seed()
    people = {role: sign_in(role) for role in ("admin", "operator", "consultant")}
    people["customer"] = customer_of(seeded, people["operator"])
    asked, known = Asked(), ids_of(seeded)
    with ApiProcess(tmp_path / "api.log") as api:
        description = schemathesis.openapi.from_dict(app.openapi())
        for found in description.get_all_operations():
            operation = found.ok()
            key = (operation.method.upper(), operation.path)
            if key in LEFT_OUT:
                continue
            roles = allowed(*key) if key not in OPEN and operation.path.startswith("/api/") else set()
            who = next((one for one in people if one in roles), None)
            headers = people[who].headers if who else {}
            for mode, share in ((GenerationMode.POSITIVE, SHARE), (GenerationMode.NEGATIVE, SHARE / 2)):
                ask(operation, mode, share, api.url, headers, known, asked)
    with capsys.disabled():
        print(f"\n{sum(asked.statuses.values())} cases: {dict(sorted(asked.statuses.items()))}")
    assert not asked.failures, "\n\n".join(asked.failures.values())
    assert sum(asked.statuses.values()) > 600


def ask(
    operation: Any,
    mode: GenerationMode,
    share: float,
    url: str,
    headers: dict[str, str],
    known: dict[str, str],
    asked: Asked,
) -> None:
    """Send what one operation takes (or does not), every other time about something that is there."""

    @settings(
        settings.default,
        max_examples=max(1, int(settings.default.max_examples * share)),
        deadline=None,
        database=None,
        # The suite asks the same each time; a long run looks further.
        derandomize=settings.default.max_examples <= 100,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        if next(asked.number) % 2 and mode is GenerationMode.POSITIVE:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = known.get(name, case.path_parameters[name])
        answer = case.call(base_url=url, headers=headers)
        asked.statuses[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except BaseExceptionGroup as group:
            for one in group.exceptions:
                asked.failures.setdefault(
                    f"{operation.label} {type(one).__name__} {answer.status_code}",
                    f"{operation.label}: {one}\n{case.as_curl_command()[:600]}",
                )

    try:
        send()
    except Unsatisfiable:
        # Nothing about it can be wrong.
        return
