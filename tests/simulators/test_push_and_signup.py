"""The push receiver and the signup service, against each other and against the public verifying library."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.simulators.simproc import ROOT, running

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def push_url() -> Iterator[str]:
    with running("-m", "simulators.push") as (url, _):
        yield url


@pytest.fixture
def http(push_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=push_url, timeout=10, trust_env=False) as client:
        client.post("/__sim__/reset").raise_for_status()
        yield client


def received(http: httpx.Client, **wanted: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get("/__sim__/received", params=wanted).json()["received"]
    return found


def sign_up(*options: str) -> tuple[int, list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "simulators.signup", "--secret", SECRET, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_a_push_is_kept_with_its_body_and_idempotency_key(http: httpx.Client) -> None:
    sent = http.post("/push/wangli", json={"title": "新客户等待服务"}, headers={"Idempotency-Key": "k1"})
    assert sent.status_code == 200
    (entry,) = received(http, name="wangli")
    assert (entry["body"], entry["idempotency_key"], entry["answered"]) == ({"title": "新客户等待服务"}, "k1", 200)
    http.post("/push/wangli", json={}, headers={"Idempotency-Key": "k1"})
    stats = http.get("/__sim__/stats").json()
    assert (stats["received_total"], stats["keys"], stats["duplicates_total"]) == (2, 1, 1)


def test_any_path_takes_alerts_and_text(http: httpx.Client) -> None:
    assert http.post("/alerts/ops?x=1", content="plain").status_code == 200
    (entry,) = received(http)
    assert (entry["path"], entry["name"], entry["body"]) == ("/alerts/ops", None, "plain")


def test_a_status_fault_hits_the_next_requests_of_its_path_only(http: httpx.Client) -> None:
    spec = {"kind": "status", "status": 429, "retry_after": 2, "count": 2, "path": "/push/a"}
    assert http.post("/__sim__/faults", json=spec).status_code == 201
    answers = [http.post(path, json={}) for path in ("/push/b", "/push/a", "/push/a", "/push/a")]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["retry-after"] == "2"
    assert [entry["answered"] for entry in received(http)] == [200, 429, 429, 200]


def test_hang_and_cut_are_recorded_as_such(http: httpx.Client) -> None:
    http.post("/__sim__/faults", json={"kind": "cut", "count": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/push/a", json={})
    http.post("/__sim__/faults", json={"kind": "hang", "count": 1})
    with pytest.raises(httpx.ReadTimeout):
        http.post("/push/a", json={}, timeout=0.2)
    http.post("/__sim__/faults", json={"kind": "hang", "seconds": 0.1, "count": 1})
    assert http.post("/push/a", json={}).status_code == 200
    assert [entry["answered"] for entry in received(http)] == ["cut", "hang", "hang"]


def test_a_wrong_push_fault_is_refused(http: httpx.Client) -> None:
    assert http.post("/__sim__/faults", json={"kind": "nonsense"}).status_code == 422
    assert http.get("/__sim__/faults").json()["faults"] == []


def test_registrations_verify_with_the_public_library(http: httpx.Client, push_url: str) -> None:
    http.post("/__sim__/faults", json={"kind": "status", "status": 202})
    code, answers, _ = sign_up(
        "--url", push_url + "/hooks/registrations", "--n", "12", "--seed", "3", "--concurrency", "3"
    )
    assert code == 0
    assert [answer["status"] for answer in answers] == [202] * 12
    entries = received(http, path="/hooks/registrations")
    for entry in entries:
        body = json.dumps(entry["body"], ensure_ascii=False)
        event = Webhook(SECRET).verify(body, entry["headers"])
        assert event["type"] == "user.registered"
    people = [entry["body"]["data"] for entry in entries]
    assert len({person["user_id"] for person in people}) == 12
    assert all(person["username"] and person["locale"] and person["source"] for person in people)
    assert len({entry["headers"]["webhook-id"] for entry in entries}) == 12


def test_the_same_seed_gives_the_same_people_in_open_and_closed_loop(http: httpx.Client, push_url: str) -> None:
    http.post("/__sim__/faults", json={"kind": "status", "status": 202})
    _, first, _ = sign_up("--url", push_url, "--n", "5", "--seed", "9")
    _, second, _ = sign_up("--url", push_url, "--n", "5", "--seed", "9", "--rate", "100")
    assert sorted(str(a["user_id"]) for a in first) == sorted(str(a["user_id"]) for a in second)


def test_one_refusal_or_a_dead_address_makes_it_exit_1(http: httpx.Client, push_url: str) -> None:
    code, answers, complaint = sign_up("--url", push_url, "--n", "2")
    assert (code, [answer["status"] for answer in answers]) == (1, [200, 200])
    assert "2 of 2 were not answered 202" in complaint
    code, answers, _ = sign_up("--url", "http://127.0.0.1:9/", "--n", "1")
    assert (code, answers[0]["status"]) == (1, None)
    assert "ConnectError" in str(answers[0]["error"])
