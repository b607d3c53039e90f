"""Consultants' and customers' sockets: two API processes, cut and resumed, nothing missed and nothing twice."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, text
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clients import fanout
from core.database import unit_of_work
from models import ConsultantConnection, Event, Notification
from queries import consultants as consultant_queries
from queries import events
from queries.events import NewEvent
from services import auth
from tests.api.conftest import PASSWORD, Person, SignIn
from tests.api.devices import Device, close_code
from tests.api.processes import ApiProcess
from tests.support.factories import create_conversation, create_journey, create_user
from tests.support.waiting import wait_until, wait_until_async

pytestmark = pytest.mark.anyio

TEXTS: dict[str, Any] = {"title": "新客户注册", "message": "有新客户注册，请及时响应", "expected_response_minutes": 5}


def announce_customers(number: int = 1) -> list[UUID]:
    """Commit so many journeys' events in one transaction and say so; return the journeys."""
    journeys = []
    for _ in range(number):
        journey = create_journey(user=create_user(username="小美", interests=["skin"]))
        create_conversation(customer=create_user(), journey_id=journey.id)
        journeys.append(journey.id)
    with unit_of_work() as session:
        events.append_new_customer_events(session, journeys, **TEXTS)
    fanout.announce()
    return journeys


async def test_a_consultant_is_told_of_a_new_customer_by_any_process(
    apis: list[ApiProcess], consultant: Person
) -> None:
    devices = [Device(api, consultant) for api in apis]
    async with devices[0].connected() as first, devices[1].connected() as second:
        journeys = await asyncio.to_thread(announce_customers)
        frames = [
            await devices[0].read_until(first, "new_customer"),
            await devices[1].read_until(second, "new_customer"),
        ]
    assert frames[0] == frames[1]
    assert set(frames[0]) == {"id", "type", "data"}
    with unit_of_work() as session:
        event = session.scalars(select(Event)).one()
    assert event.journey_id == journeys[0]
    data = frames[0]["data"]
    assert data["title"] == "新客户注册"
    assert data["action"] == "claim_customer"
    assert (data["username"], data["interests"], data["source"], data["locale"]) == (
        "小美",
        ["skin"],
        "wechat",
        "zh-CN",
    )
    assert data["link"] == f"/inbox/conversations/{data['conversation_id']}"
    assert data["expected_response_minutes"] == 5


async def test_a_device_is_told_in_the_language_it_shows_and_resumes_in_it(
    apis: list[ApiProcess], consultant: Person
) -> None:
    path = f"{apis[0].ws_url}/ws/consultants?locale=en"
    async with (
        connect(path, additional_headers=consultant.headers) as english,
        Device(apis[0], consultant).connected() as chinese,
    ):
        begin = json.loads(await english.recv())["id"]
        await chinese.recv()
        await asyncio.to_thread(announce_customers)
        said = json.loads(await english.recv())
        assert said["data"]["title"] == "A new customer is waiting"
        assert json.loads(await chinese.recv())["data"]["title"] == "新客户注册"
    async with connect(f"{path}&last_event_id={begin}", additional_headers=consultant.headers) as again:
        await again.recv()
        assert json.loads(await again.recv()) == said
    own = "/api/v1/consultants/me/locale"
    async with httpx.AsyncClient(base_url=apis[0].url, headers=consultant.headers) as client:
        assert (await client.put(own, json={"locale": "en-GB"})).status_code == 200
        assert (await client.put(own, json={"locale": "x" * 99})).status_code == 422
    device = Device(apis[1], consultant)
    device.last_event_id = begin
    async with device.connected() as socket:
        await device.read_until(socket, "new_customer")
    assert device.frames[-1] == said
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{apis[0].ws_url}/ws/consultants?locale=%00", additional_headers=consultant.headers)
    assert refused.value.response.status_code == 422


async def test_the_step_run_twice_tells_once(apis: list[ApiProcess], consultant: Person) -> None:
    device = Device(apis[0], consultant)
    async with device.connected() as socket:
        journeys = await asyncio.to_thread(announce_customers)
        with unit_of_work() as session:
            events.append_new_customer_events(session, journeys, **TEXTS)
            events.append_events(session, [NewEvent(events.ALL_CONSULTANTS, "last", {})])
        fanout.announce()
        await device.read_until(socket, "last")
    assert len(device.received()) == 1


async def test_an_event_is_found_without_a_hint(apis: list[ApiProcess], consultant: Person) -> None:
    device = Device(apis[0], consultant)
    async with device.connected() as socket:
        with unit_of_work() as session:
            events.append_events(session, [NewEvent(events.ALL_CONSULTANTS, "unannounced", {})])
        assert (await device.read_until(socket, "unannounced"))["data"] == {}


async def test_a_transaction_that_commits_late_is_not_skipped(apis: list[ApiProcess], consultant: Person) -> None:
    """The earlier writer commits after the later one's event was read: the classic gap of a plain sequence."""
    device = Device(apis[0], consultant)
    async with device.connected() as socket:
        with unit_of_work() as late:
            events.append_events(late, [NewEvent(events.ALL_CONSULTANTS, "late", {})])
            with unit_of_work() as early:
                events.append_events(early, [NewEvent(events.ALL_CONSULTANTS, "early", {})])
            fanout.announce()
            await device.read_until(socket, "early")
        fanout.announce()
        await device.read_until(socket, "late")
    assert [frame["type"] for frame in device.frames] == ["connected", "early", "late"]
    assert int(device.frames[1]["id"]) < int(device.frames[2]["id"])


async def test_what_came_while_a_socket_was_cut_follows_at_the_other_process(
    apis: list[ApiProcess], consultant: Person
) -> None:
    device = Device(apis[0], consultant)
    async with device.connected() as socket:
        await device.read_until(socket, "connected")
        await asyncio.to_thread(announce_customers, 2)
        await device.read_until(socket, "new_customer")
    await asyncio.to_thread(announce_customers, 3)
    device.url = apis[1].ws_url
    async with device.connected() as socket:
        await device.read_until(socket, "connected")
        while len(device.received()) < 5:
            await device.read(socket)
        await asyncio.to_thread(announce_customers, 1)
        await device.read_until(socket, "new_customer")
    assert len(set(device.received())) == 6
    assert device.received() == sorted(device.received(), key=int)


async def test_sockets_cut_at_random_and_resumed_miss_nothing_and_get_nothing_twice(
    apis: list[ApiProcess], sign_in: SignIn
) -> None:
    people = [sign_in("consultant") for _ in range(12)]
    devices = [Device(apis[number % 2], person) for number, person in enumerate(people)]
    chance = random.Random(7)
    wanted = 40

    async def listen(device: Device) -> None:
        while len(device.received()) < wanted:
            device.url = chance.choice(apis).ws_url
            try:
                async with device.connected() as socket:
                    while len(device.received()) < wanted:
                        await device.read(socket)
                        if chance.random() < 0.2:
                            socket.transport.abort()
            except ConnectionClosed:
                continue

    listening = [asyncio.create_task(listen(device)) for device in devices]
    await wait_until_async(lambda: all(device.frames for device in devices))
    for _ in range(wanted // 4):
        await asyncio.to_thread(announce_customers, 4)
    await asyncio.wait_for(asyncio.gather(*listening), 60)
    with unit_of_work() as session:
        told = [str(seq) for seq in session.scalars(select(Event.seq).order_by(Event.seq))]
    assert len(told) == wanted
    for device in devices:
        assert device.received() == told


async def test_events_of_others_stay_with_others(apis: list[ApiProcess], sign_in: SignIn) -> None:
    mine, other = sign_in("consultant"), sign_in("consultant")
    device = Device(apis[0], mine)
    with unit_of_work() as session:
        ids = {one.display_name: one.consultant_id for one in consultant_queries.list_presence(session)}
    for_both = [
        NewEvent(events.consultant_audience(ids[other.username]), "others", {}),
        NewEvent(events.ALL_CONSULTANTS, "others", {}, recipients=[ids[other.username]]),
        NewEvent(events.customer_audience(mine.user_id), "others", {}),
        NewEvent(events.consultant_audience(ids[mine.username]), "mine", {"n": 1}),
        NewEvent(events.ALL_CONSULTANTS, "mine", {"n": 2}, recipients=[ids[mine.username]]),
    ]
    async with device.connected() as socket:
        await device.read_until(socket, "connected")
        with unit_of_work() as session:
            events.append_events(session, for_both)
        fanout.announce()
        await device.read_until(socket, "mine")
        await device.read_until(socket, "mine")
    assert [frame["type"] for frame in device.frames] == ["connected", "mine", "mine"]
    device.last_event_id = device.frames[0]["id"]
    async with device.connected() as socket:
        assert [(await device.read(socket))["type"] for _ in range(3)] == ["connected", "mine", "mine"]


async def test_presence_counts_devices_and_ends_with_the_last(apis: list[ApiProcess], consultant: Person) -> None:
    def online() -> list[tuple[str, int]]:
        with unit_of_work() as session:
            return [(one.status, one.devices) for one in consultant_queries.list_online(session)]

    async with Device(apis[0], consultant).connected():
        assert online() == [("online", 1)]
        async with Device(apis[1], consultant).connected() as second:
            assert online() == [("online", 2)]
            await second.send(json.dumps({"type": "presence", "data": {"status": "away"}}))
            await wait_until_async(lambda: online() == [])
            await second.send(json.dumps({"type": "presence", "data": {"status": "online"}}))
            await wait_until_async(lambda: online() == [("online", 2)])
        await wait_until_async(lambda: online() == [("online", 1)])
    await wait_until_async(lambda: online() == [])


async def test_a_socket_that_broke_off_counts_a_moment_longer_and_a_closed_one_does_not(
    apis: list[ApiProcess], consultant: Person
) -> None:
    def seconds_left() -> list[int]:
        with unit_of_work() as session:
            rows = session.execute(text("SELECT extract(epoch FROM expires_at - now()) FROM consultant_connections"))
            return [round(float(row[0])) for row in rows]

    async with Device(apis[0], consultant).connected() as socket:
        assert seconds_left() == [30]
        socket.transport.abort()
        await wait_until_async(lambda: seconds_left() != [30])
        assert 5 <= seconds_left()[0] <= 10
    with unit_of_work() as session:
        session.execute(text("DELETE FROM consultant_connections"))
    async with Device(apis[0], consultant).connected():
        assert len(seconds_left()) == 1
    await wait_until_async(lambda: seconds_left() == [])


async def test_a_killed_processs_consultants_expire_and_a_stopped_ones_leave_at_once(
    tmp_path: Path, consultant: Person
) -> None:
    with ApiProcess(tmp_path / "killed.log") as killed, ApiProcess(tmp_path / "stopped.log") as stopped:
        await _killed_and_stopped(killed, stopped, consultant)
    with unit_of_work() as session:
        left = session.scalars(select(ConsultantConnection)).one()
        assert 20 < (left.expires_at - left.connected_at).total_seconds() <= 31


async def _killed_and_stopped(killed: ApiProcess, stopped: ApiProcess, consultant: Person) -> None:
    async with Device(killed, consultant).connected(), Device(stopped, consultant).connected() as socket:
        with unit_of_work() as session:
            assert session.scalar(select(func.count()).select_from(ConsultantConnection)) == 2
        # uvicorn ends cleanly, and then by the signal it was sent.
        assert await asyncio.to_thread(stopped.stop) == -15
        assert await close_code(socket) == 1012
        killed.kill()


async def test_logout_closes_the_sessions_sockets_in_every_process(apis: list[ApiProcess], consultant: Person) -> None:
    async with Device(apis[0], consultant).connected() as first, Device(apis[1], consultant).connected() as second:
        answer = await asyncio.to_thread(httpx.post, f"{apis[0].url}/api/v1/auth/logout", headers=consultant.headers)
        assert answer.status_code == 200
        for socket in (first, second):
            assert await close_code(socket) == 4401


@pytest.mark.parametrize("path", ["/ws/consultants", "/ws/customers"])
async def test_nobody_gets_in_without_a_token_that_fits(apis: list[ApiProcess], admin: Person, path: str) -> None:
    for headers, status, code in (
        ({}, 401, "TOKEN_MISSING"),
        ({"Authorization": "Bearer junk"}, 401, "TOKEN_INVALID"),
        (admin.headers, 403, "NOT_ALLOWED"),
    ):
        with pytest.raises(InvalidStatus) as refused:
            await connect(apis[0].ws_url + path, additional_headers=headers)
        assert refused.value.response.status_code == status
        body = json.loads(refused.value.response.body or b"{}")
        assert (body["success"], body["code"]) == (False, code)
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(ConsultantConnection)) == 0


async def test_the_token_may_come_as_a_subprotocol_pair(apis: list[ApiProcess], consultant: Person) -> None:
    async with connect(f"{apis[0].ws_url}/ws/consultants", subprotocols=["bearer", consultant.token]) as socket:
        assert socket.subprotocol == "bearer"
        assert json.loads(await socket.recv())["type"] == "connected"


async def test_a_last_event_id_that_is_none_is_refused_and_one_from_elsewhere_is_said_aloud(
    apis: list[ApiProcess], consultant: Person
) -> None:
    device = Device(apis[0], consultant)
    device.last_event_id = "abc"
    with pytest.raises(InvalidStatus) as refused:
        async with device.connected():
            pass
    assert refused.value.response.status_code == 422
    device.last_event_id = "99999999"
    async with device.connected() as socket:
        await device.read_until(socket, "connected")
        assert (await device.read(socket))["type"] == "resync"
        await asyncio.to_thread(announce_customers)
        await device.read_until(socket, "new_customer")


async def test_pings_are_answered_and_frames_that_are_none_end_the_socket(
    apis: list[ApiProcess], consultant: Person
) -> None:
    device = Device(apis[0], consultant)
    async with device.connected() as socket:
        await socket.send('{"type":"ping"}')
        await device.read_until(socket, "pong")
        await socket.send("[]")
        assert await close_code(socket) == 4400


async def test_a_device_that_does_not_read_is_cut_off_and_resumes(apis: list[ApiProcess], consultant: Person) -> None:
    device = Device(apis[0], consultant)
    number = 4000
    async with device.connected(max_queue=1, compression=None) as socket:
        await device.read_until(socket, "connected")
        with unit_of_work() as session:
            padding = "x" * 4000
            events.append_events(
                session, [NewEvent(events.ALL_CONSULTANTS, "bulk", {"n": n, "padding": padding}) for n in range(number)]
            )
        fanout.announce()
        await wait_until_async(lambda: not _connections(), timeout_seconds=20)
        await close_code(socket, device)
    before = len(device.received("bulk"))
    assert before < number
    async with device.connected() as socket:
        while len(device.received("bulk")) < number:
            await device.read(socket)
    numbers = [frame["data"]["n"] for frame in device.frames if frame["type"] == "bulk"]
    assert numbers == list(range(number))


async def test_a_device_says_what_it_received_and_showed(apis: list[ApiProcess], consultant: Person) -> None:
    device = Device(apis[0], consultant)

    def states() -> list[str]:
        with unit_of_work() as session:
            return [one.status for one in session.scalars(select(Notification).order_by(Notification.id))]

    async with device.connected() as socket:
        journeys = await asyncio.to_thread(announce_customers, 2)
        with unit_of_work() as session:
            consultant_id = consultant_queries.list_online(session)[0].consultant_id
            for journey_id in journeys:
                session.add(
                    Notification(
                        journey_id=journey_id,
                        consultant_id=consultant_id,
                        channel="websocket",
                        status="sent",
                        payload={},
                    )
                )
        frames = [await device.read_until(socket, "new_customer") for _ in journeys]
        await socket.send(json.dumps({"type": "received", "data": {"ids": [frame["id"] for frame in frames]}}))
        await wait_until_async(lambda: states() == ["delivered", "delivered"])
        await socket.send(json.dumps({"type": "seen", "data": {"ids": [frames[0]["id"]]}}))
        await wait_until_async(lambda: "seen" in states())
        assert Counter(states()) == {"delivered": 1, "seen": 1}


async def test_a_customer_hears_of_their_own_messages_and_deltas_only(apis: list[ApiProcess], operator: Person) -> None:
    customer, other = create_user(), create_user()
    with unit_of_work() as session:
        identity = auth.identify(auth.login(operator.username, PASSWORD, origin="test").access_token)
    assert customer.external_id is not None
    tokens = auth.open_customer_session(customer.external_id, minted_by=identity, origin="test")
    device = Device(apis[0], Person(customer.id, customer.username, tokens), "/ws/customers")
    async with device.connected() as socket:
        await device.read_until(socket, "connected")
        fanout.publish_frame(events.customer_audience(other.id), "message_delta", {"text": "not yours"})
        fanout.publish_frame(events.customer_audience(customer.id), "message_delta", {"text": "欢"})
        with unit_of_work() as session:
            events.append_events(session, [NewEvent(events.customer_audience(customer.id), "message", {"n": 1})])
        fanout.announce()
        await device.read_until(socket, "message")
    assert [frame["type"] for frame in device.frames] == ["connected", "message_delta", "message"]
    assert device.frames[1] == {"id": None, "type": "message_delta", "data": {"text": "欢"}}


def _connections() -> int:
    with unit_of_work() as session:
        return session.execute(text("SELECT count(*) FROM consultant_connections")).scalar_one()


async def test_one_person_opens_at_most_ten_sockets_at_a_process(apis: list[ApiProcess], consultant: Person) -> None:
    opened = [
        await connect(f"{apis[0].ws_url}/ws/consultants", additional_headers=consultant.headers) for _ in range(10)
    ]
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{apis[0].ws_url}/ws/consultants", additional_headers=consultant.headers)
    assert refused.value.response.status_code == 429
    for socket in opened:
        await socket.close()
    wait_until(lambda: _connections() == 0)
