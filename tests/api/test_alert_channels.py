"""Alert channels over HTTP: kept without showing their URLs, tried on demand, audited."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.testclient import TestClient

from core.database import unit_of_work
from services import alerts
from services.permissions import Role
from tests.api.conftest import SignIn
from tests.engine.conftest import rows
from tests.simulators.simproc import running

PATH = "/api/v1/alert-channels"


@pytest.fixture(scope="module")
def receiver_url() -> Iterator[str]:
    with running("-m", "simulators.push", "--port", "0") as (url, _):
        yield url


def test_a_channel_is_added_tried_switched_off_and_removed(
    client: TestClient, sign_in: SignIn, receiver_url: str
) -> None:
    admin = sign_in(Role.ADMIN)
    url = receiver_url.replace("http://", "json://") + "/secret-token"
    added = client.post(PATH, json={"name": "ops", "url": url}, headers=admin.headers)
    assert added.status_code == 201
    assert "secret-token" not in added.text
    channel = added.json()["data"]
    assert (channel["name"], channel["service"], channel["enabled"]) == ("ops", "json", True)

    assert client.post(f"{PATH}/{channel['id']}/test", headers=admin.headers).status_code == 200
    received = httpx.get(f"{receiver_url}/__sim__/received").json()["received"]
    assert len(received) == 1
    changed = client.patch(f"{PATH}/{channel['id']}", json={"enabled": False}, headers=admin.headers)
    assert changed.json()["data"]["enabled"] is False
    listed = client.get(PATH, headers=admin.headers)
    assert "secret-token" not in listed.text
    assert listed.json()["data"]["items"][0]["last_success_at"] is not None

    assert client.delete(f"{PATH}/{channel['id']}", headers=admin.headers).status_code == 200
    assert client.get(PATH, headers=admin.headers).json()["data"]["items"] == []
    assert "secret-token" not in str(rows("SELECT before, after FROM audit_log"))
    actions = [row[0] for row in rows("SELECT action FROM audit_log WHERE subject LIKE 'alert_channel%' ORDER BY id")]
    assert actions == ["alert_channel.add", "alert_channel.change", "alert_channel.remove"]


def test_a_url_of_no_service_a_taken_name_and_an_unknown_channel_are_refused(
    client: TestClient, sign_in: SignIn
) -> None:
    admin = sign_in(Role.ADMIN)
    refused = client.post(PATH, json={"name": "x", "url": "nonsense"}, headers=admin.headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_INPUT")
    assert rows("SELECT count(*) FROM alert_channels") == [(0,)]
    body = {"name": "x", "url": "json://127.0.0.1:9/"}
    assert client.post(PATH, json=body, headers=admin.headers).status_code == 201
    assert client.post(PATH, json=body, headers=admin.headers).json()["code"] == "NAME_TAKEN"
    missing = f"{PATH}/01a1fc00-0000-7000-8000-000000000000"
    assert client.post(f"{missing}/test", headers=admin.headers).status_code == 404
    assert client.delete(missing, headers=admin.headers).status_code == 404


def test_a_channel_that_does_not_answer_says_so(client: TestClient, sign_in: SignIn) -> None:
    admin = sign_in(Role.ADMIN)
    added = client.post(PATH, json={"name": "x", "url": "json://127.0.0.1:9/"}, headers=admin.headers).json()["data"]
    answer = client.post(f"{PATH}/{added['id']}/test", headers=admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "ALERT_UNSENT")
    assert client.get(PATH, headers=admin.headers).json()["data"]["items"][0]["last_error"]


def test_alerts_are_listed_with_why_they_could_not_be_sent(client: TestClient, sign_in: SignIn) -> None:
    with unit_of_work() as session:
        alerts.raise_alert(session, key="k", title="标题", body="正文", occurrences=2)
    alerts.send_due()
    operator = sign_in(Role.OPERATOR)
    (item,) = client.get("/api/v1/alerts", headers=operator.headers).json()["data"]["items"]
    assert (item["key"], item["occurrences"], item["status"], item["error_code"]) == (
        "k",
        2,
        "pending",
        "NO_ALERT_CHANNEL",
    )
    assert client.get(PATH, headers=operator.headers).status_code == 403
