"""Erasing one person leaves the logs of others as they are, and still finds what was logged of the person."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from core.clock import utc_now
from core.database import unit_of_work
from core.ids import new_id
from models import Alert, CallLog
from queries import persons as queries
from services import mcp_calls, persons
from tests.support.factories import create_journey, create_user

AVATAR = "https://img.example/default.png"
# What a call of somebody else may hold, as it is logged.
REQUEST = {"user_id": "wx-other-1", "role": "customer", "filters": [1001, True], "name": "张***", "avatar": AVATAR}
RESPONSE = f'{{"user_id":"wx-other-1","username":"张***","roles":["customer"],"is_active":true,"avatar":"{AVATAR}"}}'
ERROR = "customer: true, 张 is not 1001 of (a|b) wx-10012345-6 and wx-100123456"


@pytest.fixture(autouse=True)
def _partitions(database: str) -> None:
    mcp_calls.maintain()


def log_call(
    request: dict[str, Any] | None, response: str | None = None, error: str | None = None, at: datetime | None = None
) -> UUID:
    call = CallLog(id=new_id(), created_at=at or utc_now(), tool_name="get_user_profile", group_id=new_id(), group_name="g", transport="t", outcome="ok", success=True, duration_ms=1, request=request, response=response, error=error)  # fmt: skip
    with unit_of_work() as session:
        session.add(call)
    return call.id


def kept(call_id: UUID) -> tuple[object, ...]:
    with unit_of_work() as session:
        statement = text("SELECT request, response, error FROM mcp_call_logs WHERE id = :id")
        return tuple(session.execute(statement, {"id": call_id}).one())


def alert(body: str) -> UUID:
    raised = Alert(
        id=new_id(),
        key=body,
        severity="critical",
        title="t",
        body=body,
        occurrences=1,
        status="sent",
        error_text="away",
    )
    with unit_of_work() as session:
        session.add(raised)
    return raised.id


def told(alert_id: UUID) -> tuple[object, ...]:
    with unit_of_work() as session:
        return tuple(
            session.execute(text("SELECT body, error_text FROM alerts WHERE id = :id"), {"id": alert_id}).one()
        )


@pytest.mark.parametrize(
    "named",
    [
        {"username": ":"},
        {"username": ","},
        {"username": "customer"},
        {"username": "true"},
        {"username": "张"},
        {"username": "."},
        {"username": "(a|b)", "avatar": AVATAR},
        {"external_id": "1001"},
        {"external_id": "customer"},
        {"external_id": "wx-10012345"},
    ],
)
def test_what_names_one_person_finds_no_row_of_another(named: dict[str, str]) -> None:
    user = create_user(**named)
    create_journey(user=user)
    body = f"{ERROR} {AVATAR}\njourney {new_id()}"
    call, other = log_call(REQUEST, RESPONSE, ERROR), alert(body)
    erased = persons.erase(user.id, actor="admin", reason="asked")
    assert kept(call) == (REQUEST, RESPONSE, ERROR)
    assert told(other) == (body, "away")
    assert {"mcp_call_logs", "alerts"} & set(erased.rows) == set()


@pytest.mark.parametrize(
    ("request_", "response", "error"),
    [
        ({"user_id": "1001"}, None, None),
        ({"filter": [{"user_id": "1001"}]}, None, None),
        ({"truncated": '{"user_id":"1001","interests":["'}, None, None),
        (None, '{"user_id":"1001","roles":[]}', None),
        (None, '{"username":"say \\"hi\\" \\\\o/"}', None),
        ({"username": 'say "hi" \\o/'}, None, None),
    ],
)
def test_a_name_counts_as_the_whole_value_of_a_field_that_names_somebody(
    request_: dict[str, Any] | None, response: str | None, error: str | None
) -> None:
    user = create_user(external_id="1001", username='say "hi" \\o/')
    call = log_call(request_, response, error)
    assert persons.erase(user.id, actor="admin", reason="asked").rows["mcp_call_logs"] == 1
    assert kept(call) == (None, None, None)


@pytest.mark.parametrize("text_", ["no user wx-10012345.", "wx-10012345", "user:wx-10012345, gone", "(wx-10012345)"])
def test_a_telling_user_id_counts_wherever_it_stands_alone(text_: str) -> None:
    user = create_user(external_id="wx-10012345")
    call = log_call(None, None, text_)
    persons.erase(user.id, actor="admin", reason="asked")
    assert kept(call) == (None, None, "erased")


def test_an_alert_is_erased_by_the_ids_it_names() -> None:
    user = create_user(username="甄美丽")
    journey = create_journey(user=user)
    mine, of_name = alert(f"BOOM: 甄美丽\njourney {journey.id}, dead letter 1"), alert("甄美丽")
    assert persons.erase(user.id, actor="admin", reason="asked").rows["alerts"] == 1
    assert told(mine) == ("erased", None)
    assert told(of_name) == ("甄美丽", "away")


def test_what_is_logged_while_the_logs_are_read_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    user = create_user(external_id="1001")
    lock, late = queries.lock_person, list[UUID]()

    def log_before(*arguments: Any) -> None:
        late.append(log_call({"user_id": "1001"}))
        lock(*arguments)

    monkeypatch.setattr(queries, "lock_person", log_before)
    assert persons.erase(user.id, actor="admin", reason="asked").rows["mcp_call_logs"] == 1
    assert [kept(one) for one in late] == [(None, None, None)]


def test_what_is_logged_after_the_erasure_is_found_by_the_hash_of_the_user_id() -> None:
    user = create_user(external_id="1001")
    journey = create_journey(user=user)
    persons.erase(user.id, actor="admin", reason="asked")
    asked, answered = log_call({"user_id": "1001"}), log_call(None, '{"user_id":"1001","roles":[]}')
    cut, of_handle = log_call({"truncated": '{"user_id":"1001","a":"'}), log_call(None, None, f"journey {journey.id}")
    other = log_call({"user_id": "10012"}, RESPONSE, ERROR)
    persons.erase_late_writes()
    assert {kept(one) for one in (asked, answered, cut)} == {(None, None, None)}
    assert kept(of_handle) == (None, None, "erased")
    assert kept(other) == ({"user_id": "10012"}, RESPONSE, ERROR)


def test_erasing_again_reads_only_what_was_logged_since() -> None:
    user = create_user(external_id="wx-10012345")
    create_journey(user=user)
    persons.erase(user.id, actor="admin", reason="asked")
    before = log_call({"user_id": "wx-10012345"}, at=utc_now() - timedelta(minutes=6))
    since = log_call({"user_id": "wx-10012345"}, at=utc_now() - timedelta(minutes=4))
    persons.erase_late_writes()
    assert kept(before)[0] == {"user_id": "wx-10012345"}
    assert kept(since)[0] is None
