"""The pages in a real browser: signing in, every page, main actions by clicks, and what the pages load and say."""

import time
from pathlib import Path

import pytest

from core.database import unit_of_work
from models import DeadLetter
from services import automation
from tests.admin.browser import Browser, find_chromium
from tests.admin.conftest import Story
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: apt-get install chromium")


def test_an_operator_repairs_by_clicks(browser: Browser, site: str) -> None:
    story = Story()
    browser.open(f"{site}/admin/dead-letters")
    browser.click("main table a")
    assert browser.path() == f"/admin/dead-letters/{story.letter.id}"
    browser.fill("#f-reason", "nobody there")
    browser.click(".button.danger")
    browser.click(".button.danger")
    assert browser.path() == f"/admin/journeys/{story.journey.id}"
    with unit_of_work() as session:
        assert session.get_one(DeadLetter, story.letter.id).reason == "nobody there"


def test_a_setting_is_changed_without_javascript(browser: Browser, site: str) -> None:
    browser.open(f"{site}/admin/settings/registration-automation")
    browser.fill("[name='retry.max_retries']", "7")
    browser.fill("#f-reason", "a test")
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    browser.click(".button.primary")
    assert browser.path() == "/admin/settings/registration-automation"
    assert browser.run("document.querySelector('.flash.good') !== null")
    assert automation.FAMILY.stored().values.retry.max_retries == 7


def test_a_page_left_open_follows_the_record(browser: Browser, site: str) -> None:
    browser.open(f"{site}/admin/journeys")
    assert "BOOM" not in browser.text("main")
    began = time.monotonic()
    Story()
    # The name is masked; the error of the step it is at is not.
    wait_until(lambda: "BOOM" in browser.text("main"), timeout_seconds=8, poll_seconds=0.2)
    assert time.monotonic() - began < 8


def test_the_keyboard_reaches_the_content_first(browser: Browser, site: str) -> None:
    browser.open(f"{site}/admin/journeys")
    for kind in ("keyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_screenshot_can_be_taken(browser: Browser, site: str, tmp_path: Path) -> None:
    browser.open(f"{site}/admin/dashboard")
    browser.screenshot(tmp_path / "dashboard.png")
    assert (tmp_path / "dashboard.png").read_bytes().startswith(b"\x89PNG")
