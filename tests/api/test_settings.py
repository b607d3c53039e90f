"""Settings, their history, the audit log and the webhook's secrets through the API."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError
from starlette.testclient import TestClient

from core.database import unit_of_work
from models import AuditEntry, SettingsVersion, WebhookSecret
from services import audit, automation
from tests.api.conftest import Person
from tests.support.waiting import wait_until

PATH = "/api/v1/settings/registration-automation"
LOG = "/api/v1/audit-log"


def _put(client: TestClient, admin: Person, values: dict[str, Any], **headers: str) -> Any:
    return client.put(PATH, json={"values": values, "reason": "why not"}, headers=admin.headers | headers)


def test_a_change_is_a_new_version_in_force_at_once_and_says_what_changed(client: TestClient, admin: Person) -> None:
    first = client.get(PATH, headers=admin.headers)
    assert (first.headers["etag"], first.json()["data"]["version"]) == ('"0"', 0)
    values = first.json()["data"]["values"]
    values["retry"]["max_retries"] = 7
    changed = _put(client, admin, values, **{"If-Match": '"0"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"1"')
    assert changed.json()["data"]["changes"] == [{"path": "retry.max_retries", "before": 3, "after": 7}]
    assert automation.current().retry.max_retries == 7
    with unit_of_work() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "settings.change")).one()
        assert entry.after is not None
        assert (entry.actor, entry.after["values"]["retry"]["max_retries"], entry.origin) == (
            admin.username,
            7,
            "testclient",
        )


def test_of_two_changes_to_the_same_version_the_second_is_refused(client: TestClient, admin: Person) -> None:
    assert _put(client, admin, {"retry": {"max_retries": 1}}, **{"If-Match": '"0"'}).status_code == 200
    lost = _put(client, admin, {"retry": {"max_retries": 2}}, **{"If-Match": '"0"'})
    assert (lost.status_code, lost.json()["code"]) == (412, "VERSION_CONFLICT")
    by_body = client.put(PATH, json={"values": {}, "version": 0}, headers=admin.headers)
    assert by_body.status_code == 412
    assert automation.current().retry.max_retries == 1
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(SettingsVersion)) == 1


def test_what_get_answered_can_be_put_back(client: TestClient, admin: Person) -> None:
    data = client.get(PATH, headers=admin.headers).json()["data"]
    answer = client.put(PATH, json=data, headers=admin.headers)
    assert (answer.status_code, answer.json()["data"]["changes"]) == (200, [])


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"retry": {"max_retries": 99}}, "retry.max_retries"),
        ({"welcome_strategy": "shout"}, "welcome_strategy"),
        ({"templates": {"en": "hi"}}, "templates"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_written(
    client: TestClient, admin: Person, values: dict[str, Any], field: str
) -> None:
    answer = _put(client, admin, values)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(SettingsVersion)) == 0
    assert automation.current_version() == 0


def test_a_dry_run_says_what_would_change_and_changes_nothing(client: TestClient, admin: Person) -> None:
    answer = client.put(f"{PATH}?dry_run=true", json={"values": {"late_answer": "drop"}}, headers=admin.headers).json()[
        "data"
    ]
    assert answer["changes"] == [{"path": "late_answer", "before": "append", "after": "drop"}]
    assert answer["dry_run"] is True
    assert automation.current_version() == 0
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(SettingsVersion)) == 0


def test_history_pages_and_a_rollback_writes_an_old_version_again(client: TestClient, admin: Person) -> None:
    for retries in (1, 2, 3):
        _put(client, admin, {"retry": {"max_retries": retries}})
    first = client.get(f"{PATH}/history?limit=2", headers=admin.headers).json()["data"]
    rest = client.get(f"{PATH}/history", params={"cursor": first["next_cursor"]}, headers=admin.headers).json()["data"]
    assert [one["version"] for one in first["items"] + rest["items"]] == [3, 2, 1]
    back = client.post(f"{PATH}/rollback", json={"version": 1}, headers=admin.headers).json()["data"]
    assert (back["version"], back["values"]["retry"]["max_retries"]) == (4, 1)
    assert automation.current().retry.max_retries == 1
    assert client.post(f"{PATH}/rollback", json={"version": 0}, headers=admin.headers).json()["data"]["version"] == 5
    assert automation.current().retry.max_retries == 3
    missing = client.post(f"{PATH}/rollback", json={"version": 77}, headers=admin.headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "VERSION_NOT_FOUND")


def test_unknown_settings_are_not_found(client: TestClient, admin: Person) -> None:
    assert client.get("/api/v1/settings/nothing", headers=admin.headers).json()["code"] == "SETTINGS_NOT_FOUND"


def test_the_audit_log_is_searched_and_paged(client: TestClient, admin: Person) -> None:
    for retries in (1, 2, 3):
        _put(client, admin, {"retry": {"max_retries": retries}})
    first = client.get(LOG, params={"action": "settings.", "limit": 2}, headers=admin.headers).json()["data"]
    rest = client.get(
        LOG, params={"action": "settings.", "cursor": first["next_cursor"]}, headers=admin.headers
    ).json()["data"]
    versions = [one["after"]["version"] for one in first["items"] + rest["items"]]
    assert versions == [3, 2, 1]
    nobody = client.get(LOG, params={"actor": "nobody"}, headers=admin.headers).json()["data"]
    assert nobody == {"items": [], "next_cursor": None}
    assert client.get(LOG, params={"cursor": "zzz"}, headers=admin.headers).json()["code"] == "INVALID_CURSOR"


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_audit_log_only_grows(admin: Person, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="can only grow"), unit_of_work() as session:
        session.execute(text(statement))
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 2


@pytest.mark.parametrize(
    ("tampering", "broken"),
    [
        ("UPDATE audit_log SET actor = 'somebody else' WHERE id = {second}", 1),
        ("DELETE FROM audit_log WHERE id = {second}", 2),
        ("DELETE FROM audit_log WHERE id = {last}", 3),
        ("UPDATE audit_log SET chain_hash = '\\x00' WHERE id = {last}", 3),
    ],
)
def test_a_row_changed_or_removed_behind_our_back_is_named(
    database: str, client: TestClient, admin: Person, tampering: str, broken: int
) -> None:
    for number in range(4):
        with unit_of_work() as session:
            audit.record(session, actor="test", action="act", subject=str(number), after={"n": number})
    assert client.get(f"{LOG}/state", headers=admin.headers).json()["data"] == {"whole": True, "first_broken_id": None}
    with unit_of_work() as session:
        ids = session.scalars(select(AuditEntry.id).where(AuditEntry.action == "act").order_by(AuditEntry.id)).all()
    with psycopg.connect(database) as stranger:
        # As somebody with the run of the server would: past every trigger.
        stranger.execute("SET session_replication_role = replica")
        stranger.execute(tampering.format(second=ids[1], last=ids[3]).encode())
    assert audit.first_broken() == ids[broken]


def test_audited_changes_at_once_stand_in_one_chain(client: TestClient, admin: Person) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(
            pool.map(lambda n: _put(client, admin, {"retry": {"max_retries": n % 9}}).status_code, range(24))
        )
    assert statuses == [200] * 24
    assert audit.first_broken() is None
    with unit_of_work() as session:
        assert session.scalar(select(func.max(SettingsVersion.version))) == 24


def test_a_secret_is_shown_once_and_the_old_one_stays_valid_for_a_while(client: TestClient, admin: Person) -> None:
    path = "/api/v1/webhook-secrets"
    first = client.post(path, json={"old_valid_hours": 2}, headers=admin.headers)
    assert (first.status_code, first.headers["cache-control"]) == (201, "no-store")
    second = client.post(path, json={"old_valid_hours": 2}, headers=admin.headers).json()["data"]
    assert second["secret"].startswith("whsec_")
    listed = client.get(path, headers=admin.headers)
    assert second["secret"] not in listed.text
    items = listed.json()["data"]["items"]
    assert [(one["valid"], one["expires_at"] is None) for one in items] == [(True, True), (True, False)]
    client.post(path, json={"old_valid_hours": 0}, headers=admin.headers)
    items = client.get(path, headers=admin.headers).json()["data"]["items"]
    assert [one["valid"] for one in items] == [True, False, False]
    with unit_of_work() as session:
        log = str([(e.before, e.after) for e in session.scalars(select(AuditEntry))])
        stored = b"".join(session.scalars(select(WebhookSecret.secret_encrypted)))
    assert second["secret"] not in log
    assert second["secret"].encode() not in stored
    assert hashlib.sha256(second["secret"].encode()).hexdigest() not in log
    for wrong in ({"old_valid_hours": -1}, {"old_valid_hours": 10_000}, {"hours": 1}):
        assert client.post(path, json=wrong, headers=admin.headers).status_code == 422


def test_a_dry_run_of_the_rollout_says_what_would_change_and_skips_nobody(client: TestClient, admin: Person) -> None:
    path = f"{PATH}?dry_run=true"
    answer = client.put(path, json={"values": {"rollout": {"percent": 10}}}, headers=admin.headers).json()["data"]
    assert [(one["path"], one["before"], one["after"]) for one in answer["changes"]] == [
        ("rollout.percent", 100.0, 10.0)
    ]
    assert automation.current().rollout.percent == 100
    wrong = client.put(path, json={"values": {"rollout": {"percent": 101}}}, headers=admin.headers)
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "rollout.percent")


def test_which_process_runs_which_version_is_answered(client: TestClient, admin: Person) -> None:
    path = "/api/v1/settings/registration-automation/processes"
    # This process reports itself: its application has begun.
    wait_until(lambda: client.get(path, headers=admin.headers).json()["data"]["total"] == 1)
    data = client.get(path, headers=admin.headers).json()["data"]
    assert (data["version"], data["current"]) == (0, 1)
    (item,) = data["items"]
    assert (item["role"], item["version"], item["state"]) == ("api", 0, "current")
    assert client.get("/api/v1/settings/nothing/processes", headers=admin.headers).status_code == 404


def test_the_mcp_settings_refuse_a_lost_update(client: TestClient, admin: Person) -> None:
    path = "/api/v1/mcp/settings"
    read = client.get(path, headers=admin.headers)
    etag, values = read.headers["etag"], read.json()["data"]["values"]
    changed = {"values": values | {"calls_per_minute": 7}}
    written = client.put(path, json=changed, headers=admin.headers | {"If-Match": etag})
    assert (written.status_code, written.headers["etag"]) == (200, '"1"')
    late = client.put(path, json=changed, headers=admin.headers | {"If-Match": etag})
    assert (late.status_code, late.json()["code"]) == (412, "VERSION_CONFLICT")
