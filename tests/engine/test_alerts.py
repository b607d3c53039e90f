"""Alerts: sent once, told together when they come in numbers, tried again until somebody took them."""

from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from clients import alerts as alert_client
from core.crypto import encrypt
from core.database import unit_of_work
from models import AlertChannel
from services import alerts, automation
from tests.engine.conftest import execute, rows
from tests.simulators.simproc import running


class Receiver:
    """The push simulator, receiving alerts through Apprise's JSON webhook."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=5)
        self.channel_url = url.replace("http://", "json://") + "/alerts"

    def received(self) -> list[dict[str, object]]:
        return [one["body"] for one in self.http.get("/__sim__/received").json()["received"]]


@pytest.fixture(scope="module")
def receiver_url() -> Iterator[str]:
    with running("-m", "simulators.push", "--port", "0") as (url, _):
        yield url


@pytest.fixture
def receiver(receiver_url: str) -> Iterator[Receiver]:
    one = Receiver(receiver_url)
    one.http.post("/__sim__/reset")
    add_channel("ops", one.channel_url)
    yield one
    one.http.close()


def add_channel(name: str, url: str) -> None:
    with unit_of_work() as session:
        session.add(AlertChannel(name=name, url_encrypted=encrypt(SecretStr(url))))


def trouble(key: str = "k", occurrences: int = 1) -> None:
    with unit_of_work() as session:
        alerts.raise_alert(session, key=key, title="标题", body="正文", occurrences=occurrences)


def test_an_alert_goes_out_once(receiver: Receiver) -> None:
    trouble()
    assert (alerts.send_due(), alerts.send_due()) == (1, 0)
    ((got),) = receiver.received()
    assert (got["title"], got["message"], got["type"]) == ("标题", "正文", "failure")
    assert rows("SELECT status, reported, last_sent_at IS NOT NULL FROM alerts") == [("sent", 1, True)]
    assert rows("SELECT last_success_at IS NOT NULL, last_error FROM alert_channels") == [(True, None)]


def test_what_follows_is_told_together_after_the_quiet_time(receiver: Receiver) -> None:
    trouble()
    alerts.send_due()
    for _ in range(3):
        trouble(occurrences=2)
    assert alerts.send_due() == 0
    minutes = "SELECT round(extract(epoch FROM due_at - last_sent_at) / 60)::int FROM alerts"
    assert rows(minutes) == [(10,)]
    execute("UPDATE alerts SET due_at = now()")
    assert alerts.send_due() == 1
    assert [one["title"] for one in receiver.received()] == ["标题", "标题 (×6)"]


def test_the_quiet_time_is_a_setting(receiver: Receiver) -> None:
    automation.change({"alerts": {"quiet_minutes": 0}}, actor="test")
    for _ in range(2):
        trouble()
        assert alerts.send_due() == 1
    assert len(receiver.received()) == 2


def test_an_alert_nobody_took_is_tried_again_and_visible(receiver: Receiver) -> None:
    receiver.http.post("/__sim__/faults", json={"kind": "status", "status": 500, "count": 1})
    trouble()
    assert alerts.send_due() == 0
    assert rows("SELECT status, error_code, attempts, due_at > now() FROM alerts") == [
        ("pending", "ALERT_UNSENT", 1, True)
    ]
    assert rows("SELECT last_error IS NOT NULL FROM alert_channels") == [(True,)]
    execute("UPDATE alerts SET due_at = now()")
    assert alerts.send_due() == 1
    assert rows("SELECT status, error_code FROM alerts") == [("sent", None)]


def test_without_a_channel_the_alert_waits_for_one() -> None:
    trouble()
    assert alerts.send_due() == 0
    assert rows("SELECT status, error_code FROM alerts") == [("pending", "NO_ALERT_CHANNEL")]


def test_one_channel_that_is_down_does_not_keep_the_others_from_hearing(receiver: Receiver) -> None:
    add_channel("down", "json://127.0.0.1:9/alerts")
    trouble()
    assert alerts.send_due() == 1
    assert len(receiver.received()) == 1
    assert rows("SELECT name, last_error IS NULL FROM alert_channels ORDER BY 1") == [("down", False), ("ops", True)]


def test_a_url_of_no_known_service_is_refused() -> None:
    with pytest.raises(alert_client.AlertUrlError):
        alert_client.check_url(SecretStr("nonsense"))
    alert_client.check_url(SecretStr("json://127.0.0.1/x"))
