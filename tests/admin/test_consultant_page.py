"""A consultant's page: profile, own hours, channels tested; and what the list says while the ladder stands still."""

from collections.abc import Iterator

import pytest

from core.clock import utc_now
from services import automation, consultants, presence, push_channels, push_settings
from services.working_hours import Weekday
from tests.admin.conftest import SignIn, Visitor
from tests.admin.test_pages import form_values
from tests.consultants.receiver import Receiver, receiving


@pytest.fixture
def receiver(database: str) -> Iterator[Receiver]:
    push_settings.allow_loopback(actor="test")
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def page(sign_in: SignIn) -> str:
    sign_in("consultant")
    (one,) = presence.listed()
    return f"/admin/consultants/{one.consultant_id}"


def test_a_profile_is_changed_and_refused_at_its_fields(admin: Visitor, page: str) -> None:
    assert page in admin.get("/admin/consultants").text
    values = form_values(admin.get(page)) | {"languages": "zh\nen", "skills": "皮肤管理", "is_supervisor": "1"}
    assert admin.post(page, values).status_code == 303
    consultant_id = presence.listed()[0].consultant_id
    profile = consultants.profile(consultant_id)
    assert (profile.languages, profile.skills, profile.is_supervisor) == (["zh", "en"], ["皮肤管理"], True)
    # Hours count only with their tick.
    assert profile.working_hours is None
    wrong = admin.post(page, values | {"own_hours": "1", "working_hours.timezone": "Mars/Olympus"})
    assert wrong.status_code == 422
    assert "Time zone: no such time zone" in wrong.text
    assert admin.post(page, values | {"own_hours": "1", "working_hours.holidays": ""}).status_code == 303
    hours = consultants.profile(consultant_id).working_hours
    assert hours is not None
    assert (hours.timezone, hours.holidays) == ("Asia/Shanghai", None)
    assert admin.post(page, values | {"languages": "Chinese"}).status_code == 422
    assert "工作时间" in admin.get(page, language="zh").text


def test_a_channel_is_added_tested_switched_and_removed(admin: Visitor, page: str, receiver: Receiver) -> None:
    consultant_id = presence.listed()[0].consultant_id
    body = {"kind": "http", "url": f"{receiver.url}/secret-token", "name": "telephone"}
    assert admin.post(f"{page}/channels", body).status_code == 303
    (channel,) = push_channels.listed(consultant_id)
    deeds = f"{page}/channels/{channel.id}"
    assert admin.post(f"{deeds}/test").headers["location"].endswith("done=channel-tested")
    receiver.always["/secret-token"] = 500
    failed = admin.post(f"{deeds}/test")
    assert (failed.status_code, "the push channel answered 500" in failed.text) == (422, True)
    assert "secret-token" not in failed.text
    assert admin.post(f"{deeds}/off").status_code == 303
    assert push_channels.listed(consultant_id)[0].enabled is False
    assert admin.post(f"{deeds}/explode").status_code == 404
    assert admin.post(f"{deeds}/remove").status_code == 303
    assert push_channels.listed(consultant_id) == []
    refused = admin.post(f"{page}/channels", body | {"url": "http://169.254.169.254/latest"})
    assert refused.status_code == 422
    assert "The address is an internal one" in refused.text
    assert push_channels.listed(consultant_id) == []


def test_operators_see_who_is_there_and_no_profiles(sign_in: SignIn, page: str) -> None:
    operator = sign_in("operator")
    shown = operator.get("/admin/consultants")
    assert shown.status_code == 200
    assert page not in shown.text
    assert operator.get(page).status_code == 403


def test_the_list_says_when_the_ladder_stands_still(admin: Visitor, page: str) -> None:
    every_day = {
        "weekly": {day: ["00:00-24:00"] for day in Weekday},
        "holidays": None,
    }
    automation.change({"notification": {"working_hours": every_day}}, actor="test")
    assert "stands still" not in admin.get("/admin/consultants").text
    # Three days from now is not now, in no time zone.
    weekday = list(Weekday)[(utc_now().weekday() + 3) % 7]
    automation.change(
        {"notification": {"working_hours": {"weekly": {weekday: ["12:00-12:01"]}, "holidays": None}}}, actor="test"
    )
    assert "stands still" in admin.get("/admin/consultants").text
    automation.change({"escalation": {"working_hours_only": False}}, actor="test")
    assert "stands still" not in admin.get("/admin/consultants").text
