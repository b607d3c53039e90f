"""Replaying many: how far it is, live, for eyes and ears, also after the page was closed."""

import re

import pytest
from sqlalchemy import text

from core.database import unit_of_work
from queries.dead_letters import DeadLetterFilter
from services import dead_letters
from services.permissions import Role
from tests.admin.browser import Browser, find_chromium
from tests.admin.conftest import SignIn, Visitor
from tests.admin.sites import BrowserFor
from tests.api.test_journeys import fail
from tests.support.factories import create_journey
from tests.support.waiting import wait_until

PLACE = re.compile(r"/admin/dead-letters/replays/(\d+)")


def letters(count: int) -> None:
    for _ in range(count):
        fail(create_journey().id)


def move(status: str, count: int) -> None:
    """Let the next steps of the replay end like this."""
    with unit_of_work() as session:
        session.execute(
            text(
                "UPDATE journey_steps SET status = :status, due_at = NULL, sweep_at = NULL WHERE id IN ("
                "SELECT id FROM journey_steps WHERE status = 'pending' AND due_at IS NOT NULL ORDER BY due_at LIMIT :count)"
            ),
            {"status": status, "count": count},
        )


def figures(page: str) -> dict[str, str]:
    return dict(re.findall(r'<div class="figure [^>]*><dt>([^<]+)</dt><dd>([\d,]+)</dd>', page))


def test_the_operator_is_led_to_the_progress_and_sees_it_until_it_is_done(admin: Visitor) -> None:
    letters(10)
    begun = admin.post("/admin/dead-letters/replay", {"error_code": "BOOM", "per_second": "1"})
    place = PLACE.match(begun.headers["location"])
    assert (begun.status_code, bool(place)) == (303, True)
    assert place
    page = admin.get(begun.headers["location"]).text
    assert "The selected steps are under way again" in page
    assert figures(page) == {"Wait for their turn": "9", "Under way": "1", "Went well": "0", "Failed again": "0"}
    assert 'aria-live="polite"' in page
    live, said = f"{place.group()}/live", f"{place.group()}/said/live"
    assert "Under way: 0 % are done." in admin.get(said).text
    move("succeeded", 4)
    move("failed", 1)
    part = admin.get(live)
    assert "5 of 10 done" in part.text
    assert figures(part.text) == {"Wait for their turn": "5", "Under way": "0", "Went well": "4", "Failed again": "1"}
    assert admin.get(live, headers={"if-none-match": part.headers["etag"]}).status_code == 304
    move("succeeded", 9)
    # Closed and opened again: the same numbers, from the record.
    page = admin.get(place.group()).text
    assert "10 of 10 done" in page
    assert "Done: 9 succeeded, 1 failed again." in page
    assert "已完成：9 条成功，1 条再次失败。" in admin.get(place.group(), language="zh").text
    listed = admin.get("/admin/dead-letters").text
    assert place.group() in listed
    assert "failed again: 1" in listed
    assert admin.get("/admin/dead-letters/replays/live").status_code == 200


def test_what_is_said_changes_in_tenths_only(admin: Visitor) -> None:
    letters(25)
    replay = dead_letters.replay_many(DeadLetterFilter(), actor="test", per_second=1)
    said = f"/admin/dead-letters/replays/{replay.replay_id}/said/live"
    etags = []
    for _ in range(5):
        move("succeeded", 1)
        etags.append(admin.get(said).headers["etag"])
    assert len(set(etags)) == 3


def test_a_replay_that_is_none_is_not_found_and_consultants_see_none(admin: Visitor, sign_in: SignIn) -> None:
    letters(1)
    replay = dead_letters.replay_many(DeadLetterFilter(), actor="test")
    paths = [f"/admin/dead-letters/replays/{replay.replay_id}{end}" for end in ("", "/live", "/said/live")]
    consultant = sign_in("consultant")
    for path in (*paths, "/admin/dead-letters/replays/live"):
        assert consultant.get(path).status_code == 403
    for number in ("0", "-1", "999999999", str(2**64), "x"):
        assert admin.get(f"/admin/dead-letters/replays/{number}").status_code == 404


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: apt-get install chromium")
def test_the_numbers_move_on_an_open_page_and_survive_a_reload(browser_for: BrowserFor, site: str) -> None:
    letters(10)
    browser: Browser = browser_for(Role.OPERATOR)
    browser.open(f"{site}/admin/dead-letters/replay")
    browser.fill("#f-per_second", "1")
    browser.click("main form button")
    assert PLACE.fullmatch(browser.path())
    browser.run("window.stayed = document.querySelector('[aria-live]')")
    move("succeeded", 6)
    wait_until(lambda: "6" in browser.text("main .big"), timeout_seconds=8, poll_seconds=0.2)
    # Screen readers are told by an element that stays where it is.
    wait_until(lambda: "60 %" in str(browser.run("window.stayed.innerText")), timeout_seconds=8, poll_seconds=0.2)
    assert browser.run("window.stayed.isConnected") is True
    browser.open(f"{site}{browser.path()}")
    assert "6" in browser.text("main .big")
    browser.open(f"{site}/admin/dead-letters")
    move("succeeded", 4)
    wait_until(lambda: "10" in browser.text("main .lines"), timeout_seconds=8, poll_seconds=0.2)
