"""The dashboard's first look: there at once, whatever its figures cost, which follow by themselves."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import psycopg
import pytest

from queries import dashboard as queries
from queries import gateway as gateway_queries
from services import agents_admin, dashboard, panel
from services.dashboard import Window
from tests.admin.browser import Browser, find_chromium
from tests.admin.conftest import Story, Visitor
from tests.support.waiting import wait_until

COMPUTING = "Being computed…"


@contextmanager
def slow(database: str) -> Iterator[None]:
    """Make every statement about attempts and agents' calls wait, as a large one would; what is open stays quick."""
    with psycopg.connect(database) as connection:
        connection.execute("LOCK TABLE step_attempts, agent_calls IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def hold_up(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> threading.Event:
    """Make this query wait until the event is set."""
    going_on, ask = threading.Event(), getattr(module, name)

    def held_up(*arguments: Any, **named: Any) -> Any:
        assert going_on.wait(20)
        return ask(*arguments, **named)

    monkeypatch.setattr(module, name, held_up)
    return going_on


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(dashboard, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(agents_admin, "PATIENCE_SECONDS", 0.05)
    yield
    panel.forget()


@pytest.mark.parametrize(("language", "words"), [("en", COMPUTING), ("zh", "正在计算…")])
def test_the_page_is_there_while_its_figures_are_computed(
    admin: Visitor, story: Story, database: str, language: str, words: str
) -> None:
    with slow(database):
        # Whatever would wait for the lock, which is held until after the answer, would wait for ever.
        for path in ("/admin/dashboard?window=7d", "/admin/dashboard/live?window=7d"):
            page = admin.get(path, language=language)
            assert (page.status_code, page.text.count(words)) == (200, 8)
            assert str(story.letter.id) in page.text
    wait_until(lambda: words not in admin.get("/admin/dashboard?window=7d", language=language).text)


def test_each_part_is_shown_when_it_is_there(admin: Visitor, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = hold_up(monkeypatch, queries, "list_steps")

    def open_parts() -> int:
        return admin.get("/admin/dashboard/live?window=7d").text.count(COMPUTING)

    wait_until(lambda: open_parts() == 1)
    assert "welcome" in admin.get("/admin/dashboard?window=7d").text
    going_on.set()
    wait_until(lambda: open_parts() == 0)


def test_agents_can_be_managed_while_their_figures_are_computed(
    admin: Visitor, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = ("/admin/agents", f"/admin/agents/{story.agent.id}")
    going_on = hold_up(monkeypatch, gateway_queries, "list_outcomes")
    for path in pages:
        page = admin.get(path).text
        assert page.count(COMPUTING) == 1
        assert f'data-live="{path}/live"' in page
        assert COMPUTING in admin.get(f"{path}/live").text
    # What is done to a circuit needs no figures.
    assert f"/admin/agents/{story.agent.id}/circuit" in admin.get(pages[1]).text
    going_on.set()
    for path in pages:
        wait_until(lambda path=path: COMPUTING not in admin.get(f"{path}/live").text)  # type: ignore[misc]
        page = admin.get(path).text
        assert (COMPUTING in page, f"{path}/live" in page) == (False, False)


def test_the_api_answers_whole_figures_or_waits(story: Story, database: str) -> None:
    answered: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answered.append(panel.overview(Window.WEEK)))
    with slow(database):
        asking.start()
        assert dashboard.glance(Window.WEEK).figures is None
        assert answered == []
    asking.join(20)
    assert answered[0]["automation_metrics"]["total_automations"] == 1


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: apt-get install chromium")
def test_the_figures_appear_without_reloading(browser: Browser, site: str, database: str) -> None:
    def computing() -> bool:
        return bool(browser.run("document.querySelector('.computing') !== null"))

    with slow(database):
        browser.open(f"{site}/admin/dashboard?window=7d")
        assert computing()
    browser.run("window.stayed = true")
    wait_until(lambda: not computing(), timeout_seconds=15, poll_seconds=0.2)
    assert browser.run("window.stayed") is True
