"""The gateway's proof in short, on one whole stack: faults, a welcome seen being typed, a rating that reaches the provider."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.gateway_proof import faults
from tests.gateway_proof.people import Person, people, register
from tests.gateway_proof.stack import AGENT_KEY, ProofStack
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

DEADLINE_MS = 20_000


@pytest.fixture(scope="module")
def stack() -> Iterator[ProofStack]:
    arguments = ("--app-key", f"{AGENT_KEY}:quick", "--latency-scale", "1")
    with ProofStack(agent_arguments=arguments, settings=faults.SETTINGS) as started:
        yield started


@pytest.mark.parametrize("case", [case for case in faults.CASES if case.short], ids=lambda case: case.name)
def test_every_customer_is_greeted_in_time_whatever_the_agent_does(stack: ProofStack, case: faults.Case) -> None:
    (row,) = faults.rows(stack, [case], count=10, per_second=10, timeout_ms=4000)
    assert row.problems() == []
    assert (row.customers, row.first_template, row.journeys) == (10, 10, "10 succeeded")


def test_a_connected_customer_sees_the_welcome_being_typed_and_then_stored_and_rates_it(stack: ProofStack) -> None:
    stack.clear_agent_faults()
    with stack.admin() as admin:
        values = admin.get("/settings/registration-automation").json()["data"]["values"]
        admin.put(
            "/settings/registration-automation", json={"values": values | {"welcome_deadline_ms": DEADLINE_MS}}
        ).raise_for_status()
        (agent,) = admin.get("/agents").json()["data"]["items"]
        admin.patch(f"/agents/{agent['id']}", json={"mode": "agent", "timeout_ms": DEADLINE_MS}).raise_for_status()
        # Thinks for five seconds at least, in which the customer comes in, and writes for two: previews take a moment to begin.
        stack.simulator("POST", "apps", {"app_key": AGENT_KEY, "profile": "slow", "mode": "agent"})
        (customer,) = people(1)
        register(stack, [customer], per_second=1)
        minted = admin.post("/auth/customer-token", json={"user_id": customer.user_id}).raise_for_status()
    token = minted.json()["data"]["access_token"]
    frames = asyncio.run(_listen(stack, token))
    deltas = [frame["data"]["text"] for frame in frames if frame["type"] == "message_delta"]
    message = frames[-1]
    assert len(deltas) >= 2
    # A preview is no record: it cannot be resumed from.
    assert {frame["id"] for frame in frames if frame["type"] == "message_delta"} == {None}
    stored = stack.scalar(f"SELECT content ->> 'text' FROM messages WHERE id = '{message['data']['id']}'")
    assert "".join(deltas).strip() == stored
    _assert_personal(customer, str(stored))
    _rate(stack, token, message["data"]["id"])
    stack.simulator("POST", "apps", {"app_key": AGENT_KEY, "profile": "quick", "mode": "agent"})


async def _listen(stack: ProofStack, token: str) -> list[dict[str, Any]]:
    """Return the frames up to the first stored message."""
    frames: list[dict[str, Any]] = []
    url = f"ws://127.0.0.1:{stack.api_port}/ws/customers"
    async with connect(url, additional_headers={"Authorization": f"Bearer {token}"}) as socket:
        while not frames or frames[-1]["type"] != "message":
            frames.append(json.loads(await asyncio.wait_for(socket.recv(), 30)))
    return frames


def _assert_personal(customer: Person, text: str) -> None:
    assert [fact for fact in customer.facts if fact not in text] == []


def _rate(stack: ProofStack, token: str, message_id: str) -> None:
    """Rate the message as the customer, and see the provider hear of it."""
    answer = httpx.post(
        f"{stack.api_url}/api/v1/messages/{message_id}/feedback",
        json={"rating": 5, "comment": "很贴心"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )
    assert answer.status_code == 200
    rated = wait_until(
        lambda: [run["feedback"] for run in stack.simulator("GET", "runs")["runs"] if run["feedback"]],
        timeout_seconds=15,
        poll_seconds=0.1,
    )
    assert rated == [{"rating": "like", "content": "很贴心"}]
    wait_until(lambda: stack.rows("SELECT status, attempts FROM agent_feedback") == [("sent", 1)], timeout_seconds=5)
