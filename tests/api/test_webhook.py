"""The webhook's door: what is accepted is committed, and every refusal says why and writes nothing."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook
from starlette.testclient import TestClient

from core import database as core_database
from core import snapshots
from core.crypto import encrypt
from core.database import unit_of_work
from core.settings import get_settings
from models import WebhookSecret
from services import automation, webhook_counts
from services.webhook_signature import new_secret
from tests.engine.conftest import rows
from tests.support.waiting import wait_until

PATH = "/hooks/registrations"
EVENT: dict[str, Any] = {
    "type": "user.registered",
    "timestamp": "2026-11-20T08:00:00Z",
    "data": {
        "user_id": "u-1001",
        "username": "小美",
        "email": "a@example.com",
        "phone": "+8613800000000",
        "avatar": None,
        "roles": ["customer"],
        "primary_role": "customer",
        "locale": "zh-CN",
        "source": "wechat",
        "interests": ["skin"],
        "registered_at": "2026-11-20T07:59:59Z",
    },
}


def add_secret(*, expires_at: datetime | None = None) -> SecretStr:
    secret = new_secret()
    with unit_of_work() as session:
        session.add(WebhookSecret(secret_encrypted=encrypt(secret), created_by="test", expires_at=expires_at))
    # The announcement would arrive in milliseconds; the test does not wait for it.
    snapshots.forget_all()
    return secret


@pytest.fixture
def secret(database: str) -> SecretStr:
    return add_secret()


def signed(body: str, secret: SecretStr, *, webhook_id: str = "msg_1", at: datetime | None = None) -> dict[str, str]:
    moment = at or datetime.now(UTC)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret.get_secret_value()).sign(webhook_id, moment, body),
    }


def send(client: TestClient, secret: SecretStr, event: Any = EVENT, **signing: Any) -> httpx.Response:
    body = event if isinstance(event, str) else json.dumps(event)
    return client.post(PATH, content=body.encode(), headers=signed(body, secret, **signing))


def written() -> tuple[object, ...]:
    return rows(
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM journeys), (SELECT count(*) FROM webhook_receipts)"
    )[0]


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """Check the refusal's form, and that nothing was written; return what it says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert (problem["success"], problem["code"], problem["status"]) == (False, code, status)
    assert written() == (0, 0, 0)
    return str(problem["detail"])


def test_a_signed_registration_is_accepted_and_committed(client: TestClient, secret: SecretStr) -> None:
    answer = send(client, secret)
    assert answer.status_code == 202
    body = answer.json()
    assert body["success"] is True
    assert body["data"]["status"] == "accepted"
    assert rows("SELECT id::text FROM journeys") == [(body["data"]["journey_id"],)]
    assert rows("SELECT external_id, phone, source FROM users") == [("u-1001", "+8613800000000", "wechat")]


def test_only_user_id_and_username_are_needed(client: TestClient, secret: SecretStr) -> None:
    event = {"type": "user.registered", "data": {"user_id": "u", "username": "n", "campaign": {"id": 7}}}
    assert send(client, secret, event).status_code == 202
    assert rows("SELECT extra FROM users") == [({"campaign": {"id": 7}},)]


def test_a_repeat_is_answered_as_duplicate_with_the_first_journey(client: TestClient, secret: SecretStr) -> None:
    first = send(client, secret).json()["data"]["journey_id"]
    for webhook_id in ("msg_1", "msg_2"):
        answer = send(client, secret, webhook_id=webhook_id)
        assert answer.status_code == 202
        assert answer.json()["data"] == {"journey_id": first, "status": "duplicate"}
    assert written() == (1, 1, 2)


def test_an_unknown_event_type_is_skipped_and_nothing_written(client: TestClient, secret: SecretStr) -> None:
    answer = send(client, secret, {"type": "user.deleted", "data": {"user_id": "u"}})
    assert answer.status_code == 202
    assert answer.json()["data"] == {"journey_id": None, "status": "skipped", "reason": "unknown_event_type"}
    assert written() == (0, 0, 0)


def test_any_valid_secret_and_any_of_several_signatures_will_do(client: TestClient, secret: SecretStr) -> None:
    newer = add_secret()
    assert send(client, newer).status_code == 202
    body = json.dumps(EVENT)
    headers = signed(body, secret)
    headers["webhook-signature"] = f"v1,AAAA {headers['webhook-signature']} v2,x"
    assert client.post(PATH, content=body, headers=headers).json()["data"]["status"] == "duplicate"


def test_an_expired_secret_no_longer_signs(client: TestClient, secret: SecretStr) -> None:
    expired = add_secret(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    refused(send(client, expired), 401, "WEBHOOK_SIGNATURE_INVALID")


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(client: TestClient, secret: SecretStr, header: str) -> None:
    body = json.dumps(EVENT)
    headers = signed(body, secret)
    del headers[header]
    detail = refused(client.post(PATH, content=body, headers=headers), 401, "WEBHOOK_SIGNATURE_MISSING")
    assert header in detail


@pytest.mark.parametrize(
    "signature",
    ["v1,AAAA", "v1", "nonsense", "v1,ä", "v2,AAAA", ",", "v1,a,b", " ", "v1a,xxx"],
)
def test_a_signature_that_does_not_fit_is_refused(client: TestClient, secret: SecretStr, signature: str) -> None:
    body = json.dumps(EVENT)
    headers = {**signed(body, secret), "webhook-signature": signature}
    answer = client.post(PATH, content=body, headers={k: v.encode() for k, v in headers.items()})  # type: ignore[misc]
    assert answer.status_code == 401
    assert answer.json()["code"] in {"WEBHOOK_SIGNATURE_INVALID", "WEBHOOK_SIGNATURE_MISSING"}
    assert written() == (0, 0, 0)


def test_a_changed_body_is_refused(client: TestClient, secret: SecretStr) -> None:
    body = json.dumps(EVENT)
    answer = client.post(PATH, content=body + " ", headers=signed(body, secret))
    refused(answer, 401, "WEBHOOK_SIGNATURE_INVALID")


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_timestamp_more_than_five_minutes_away_is_refused(
    client: TestClient, secret: SecretStr, minutes: int
) -> None:
    answer = send(client, secret, at=datetime.now(UTC) + timedelta(minutes=minutes))
    refused(answer, 401, "WEBHOOK_TIMESTAMP_STALE")


@pytest.mark.parametrize("timestamp", ["yesterday", "nan", "inf", "-1e99", "1e400"])
def test_a_timestamp_that_is_none_is_refused(client: TestClient, secret: SecretStr, timestamp: str) -> None:
    body = json.dumps(EVENT)
    headers = {**signed(body, secret), "webhook-timestamp": timestamp}
    answer = client.post(PATH, content=body, headers=headers)
    assert answer.status_code == 401
    assert written() == (0, 0, 0)


@pytest.mark.parametrize("body", ["", "{", "user_id=1", '{"type": "user.registered",}', "\ufeff{}", "NaN"])
def test_what_is_not_json_is_refused(client: TestClient, secret: SecretStr, body: str) -> None:
    refused(send(client, secret, body), 400, "NOT_JSON")


def test_a_body_that_is_not_utf8_is_refused(client: TestClient, secret: SecretStr) -> None:
    answer = client.post(PATH, content=b"\xff\xfe", headers=signed("x", secret))
    assert answer.status_code == 401
    assert written() == (0, 0, 0)


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ([], "object"),
        ("null", "object"),
        ({}, "type"),
        ({"type": 7}, "type"),
        ({"type": "user.registered"}, "data"),
        ({"type": "user.registered", "data": "u"}, "data"),
        ({"type": "user.registered", "data": {"username": "n"}}, "data.user_id"),
        ({"type": "user.registered", "data": {"user_id": "u"}}, "data.username"),
        ({"type": "user.registered", "data": {"user_id": 5, "username": "n"}}, "data.user_id"),
        ({"type": "user.registered", "data": {"user_id": "u", "username": "n", "roles": "x"}}, "data.roles"),
        ({"type": "user.registered", "data": {"user_id": "a\u0000b", "username": "n"}}, "NUL"),
        ({"type": "user.registered", "data": {"user_id": "u", "username": "n", "x": ["\u0000"]}}, "NUL"),
    ],
)
def test_wrong_fields_are_named(client: TestClient, secret: SecretStr, event: Any, named: str) -> None:
    assert named in refused(send(client, secret, event), 422, "INVALID_INPUT")


def test_a_refusal_does_not_repeat_personal_data(client: TestClient, secret: SecretStr) -> None:
    data = {"user_id": "u", "username": "n", "phone": ["+8613800000000"]}
    answer = send(client, secret, {"type": "user.registered", "data": data})
    assert answer.status_code == 422
    assert "13800000000" not in answer.text


@pytest.mark.parametrize("chunked", [False, True])
def test_more_than_64_kib_is_refused(client: TestClient, secret: SecretStr, chunked: bool) -> None:
    body = json.dumps({**EVENT, "filler": "x" * 65536})

    def parts() -> Iterator[bytes]:
        yield from (body[n : n + 8192].encode() for n in range(0, len(body), 8192))

    answer = client.post(PATH, content=parts() if chunked else body.encode(), headers=signed(body, secret))
    refused(answer, 413, "PAYLOAD_TOO_LARGE")


def test_exactly_64_kib_is_accepted(client: TestClient, secret: SecretStr) -> None:
    bare = json.dumps({**EVENT, "filler": ""})
    body = json.dumps({**EVENT, "filler": "x" * (65536 - len(bare))})
    assert len(body) == 65536
    assert send(client, secret, body).status_code == 202


def test_over_the_rate_limit_the_caller_is_told_when_to_come_back(client: TestClient, secret: SecretStr) -> None:
    automation.change({"intake": {"rate_limit_per_second": 1}}, actor="test")
    # Within one second of the clock, so that the window does not turn between the two.
    wait_until(lambda: time.time() % 1 < 0.5)
    events = [{**EVENT, "data": {**EVENT["data"], "user_id": f"u{n}"}} for n in range(4)]
    answers = [send(client, secret, event, webhook_id=f"m{n}") for n, event in enumerate(events)]
    refusals = [answer for answer in answers if answer.status_code == 429]
    assert len(refusals) >= 2
    assert refusals[0].headers["retry-after"] == "1"
    assert refusals[0].json()["code"] == "RATE_LIMITED"
    assert written() == (4 - len(refusals),) * 3


def test_with_the_database_away_the_caller_is_told_to_come_back(
    client: TestClient, secret: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client, secret, {"type": "other"})
    monkeypatch.setattr(get_settings(), "database_url", "postgresql://anmei@/anmei?host=/nowhere")
    core_database.dispose()
    try:
        answer = send(client, secret)
    finally:
        monkeypatch.undo()
        core_database.dispose()
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["code"] == "DATABASE_UNAVAILABLE"
    assert written() == (0, 0, 0)
    assert send(client, secret).json()["data"]["status"] == "accepted"


def test_with_the_broker_away_the_registration_is_accepted_all_the_same(
    client: TestClient, secret: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery.canvas import Signature
    from kombu.exceptions import OperationalError

    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(Signature, "apply_async", refuse)
    assert send(client, secret).json()["data"]["status"] == "accepted"
    assert rows("SELECT sweep_at IS NOT NULL FROM journey_steps WHERE position = 1") == [(True,)]


def test_every_answer_is_counted_by_its_outcome(client: TestClient, secret: SecretStr) -> None:
    before = outcomes()
    send(client, secret)
    send(client, secret)
    send(client, secret, {"type": "other"})
    send(client, secret, "{")
    send(client, secret, {})
    client.post(PATH, content=b"{}")
    client.post(PATH, content=b"x" * 70_000)
    webhook_counts.flush()
    counted = {name: count - before.get(name, 0) for name, count in outcomes().items() if count != before.get(name, 0)}
    assert counted == {
        "accepted": 1,
        "duplicate": 1,
        "skipped": 1,
        "malformed": 1,
        "invalid": 1,
        "unauthorized": 1,
        "too_large": 1,
    }


def outcomes() -> dict[object, int]:
    webhook_counts.flush()
    return {
        name: int(str(count)) for name, count in rows("SELECT outcome, sum(count) FROM webhook_outcomes GROUP BY 1")
    }


def test_the_in_process_entry_starts_the_same_journey(client: TestClient, secret: SecretStr) -> None:
    from api_hooks import on_user_registered
    from core.errors import InvalidInputError

    journey_id = on_user_registered("u-1001", {"username": "小美", "locale": "zh-CN"})
    assert send(client, secret).json()["data"] == {"journey_id": str(journey_id), "status": "duplicate"}
    with pytest.raises(InvalidInputError, match="username"):
        on_user_registered("u-2", {})
    assert written()[:2] == (1, 1)
