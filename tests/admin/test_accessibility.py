"""Every page under axe, in both languages, light and dark, wide and on a phone: taken from the table of routes."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from fastapi.routing import APIRoute

from admin.inbox import router as inbox
from admin.routes import PARTS
from queries.dead_letters import DeadLetterFilter
from services import automation, dead_letters, mcp_groups, mcp_seed, mcp_tools
from services.permissions import Role
from tests.admin.browser import Browser, find_chromium
from tests.admin.conftest import Story
from tests.admin.sites import BrowserFor
from tests.api.test_journeys import fail
from tests.support.factories import create_consultant, create_conversation, create_journey, create_user

pytestmark = [
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(300),
]

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
RUN_AXE = """
axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(
  one => one.id + ": " + one.nodes.map(node => node.target.join(" ")).join(", ")))
"""
# Both languages, both colour schemes, a desk and a telephone; the other four ways of combining them found nothing more.
LOOKS = [("zh", 1280, False), ("en", 390, True)]
# No pages: parts of them, files, answers for scripts, and what only sends on.
NO_PAGES = (
    "/live",
    "/{name}.js",
    "worker.js",
    "/token",
    "export.csv",
    "/static/{name}",
    "/language/{code}",
    "/oidc",
    "/callback",
)


class Examples:
    """Something to look at on every page, by the names that addresses have for it."""

    def __init__(self) -> None:
        story = Story()
        mcp_seed.ensure_seed()
        automation.change({"enabled": True, "welcome_deadline_ms": 2500}, actor="test", reason="a look")
        group = mcp_groups.list_groups()[0]
        customer, consultant = create_user(username="小雅"), create_consultant()
        conversation = create_conversation(customer=customer)
        self.ids = {
            "journey_id": story.journey.id,
            "letter_id": story.letter.id,
            "replay_id": _replayed(),
            "agent_id": story.agent.id,
            "group_id": group.id,
            "tool_id": mcp_tools.list_tools(group.id)[0].id,
            "user_id": customer.id,
            "consultant_id": consultant.id,
            "conversation_id": conversation.id,
            "name": automation.NAME,
            "version": 1,
        }

    def addresses(self) -> Iterator[str]:
        """Return the address of every page; fail for a route with a parameter nobody gave an example for."""
        for route in [*(one for part in PARTS for one in part.router.routes), *inbox.routes]:
            assert isinstance(route, APIRoute)
            if "GET" not in route.methods or route.path.endswith(NO_PAGES):
                continue
            names = re.findall(r"\{(\w+)\}", route.path)
            assert set(names) <= self.ids.keys(), f"no example for {route.path}"
            yield route.path.format(**self.ids)
        yield from (
            "/admin/settings/mcp",
            "/admin/settings/sign-in",
            "/admin/users?role=customer",
            "/admin/audit?check=1",
        )
        yield from ("/admin/dead-letters?status=discarded", "/admin/nothing-here")


def _replayed() -> int:
    """Replay two that had failed; one of them fails again."""
    again = fail(create_journey(status="failed").id, code="AGAIN")
    fail(create_journey(status="failed").id, code="AGAIN")
    number = dead_letters.replay_many(DeadLetterFilter(error_code="AGAIN"), actor="test", per_second=0.01).replay_id
    fail(dead_letters.get(again).journey_id, code="AGAIN")
    return number


def violations(browser: Browser) -> list[str]:
    if not browser.run("typeof axe === 'object'"):
        browser.send("Runtime.evaluate", expression=AXE)
    found: list[str] = browser.run(RUN_AXE)
    return found


@pytest.mark.parametrize(("language", "width", "dark"), LOOKS)
def test_no_page_has_a_violation_or_is_wider_than_the_screen(
    browser_for: BrowserFor, site: str, language: str, width: int, dark: bool
) -> None:
    browser = browser_for(Role.ADMIN, Role.CONSULTANT)
    browser.size(width, dark=dark)
    browser.open(f"{site}/admin/language/{language}?next=/admin/account")
    wrong: dict[str, object] = {}
    seen = 0
    for address in Examples().addresses():
        browser.open(site + address)
        found: dict[str, object] = {"axe": violations(browser)}
        found["width"] = browser.run("document.documentElement.scrollWidth") > width
        found["language"] = browser.run("document.documentElement.lang") != {"zh": "zh-CN", "en": "en"}[language]
        found["inline"] = browser.run("document.querySelectorAll('[style], style, script:not([src])').length")
        seen += 1
        if any(found.values()):
            wrong[address] = found
    # The one that is meant to be missing says so on the console too.
    browser.errors[:] = [one for one in browser.errors if "nothing-here" not in one]
    assert not wrong, json.dumps(wrong, ensure_ascii=False, indent=1)
    assert seen >= 30


def test_pages_that_answer_a_form_have_no_violation_either(browser_for: BrowserFor, site: str) -> None:
    browser = browser_for(Role.ADMIN)
    examples = Examples()
    wrong = {}

    def look(name: str) -> None:
        if found := violations(browser):
            wrong[name] = found

    browser.open(f"{site}/admin/settings/{automation.NAME}")
    browser.fill("[name='retry.max_retries']", "many")
    browser.click("[formaction$='/check']")
    look("settings with an error")
    browser.fill("[name='retry.max_retries']", "5")
    browser.click("[formaction$='/check']")
    look("what would change")
    browser.open(f"{site}/admin/dead-letters/{examples.ids['letter_id']}")
    browser.fill("#f-reason", "nobody there")
    browser.click(".button.danger")
    look("asked before discarding")
    browser.open(f"{site}/admin/webhook")
    browser.fill("textarea[name=headers]", "webhook-id: x")
    browser.click("form[action$='/test'] button")
    look("a signature explained")
    browser.open(f"{site}/admin/agents/{examples.ids['agent_id']}")
    browser.fill("#f-customer", "nobody")
    browser.click("form[action$='/preview'] button")
    look("a preview for nobody")
    browser.errors[:] = [one for one in browser.errors if "status of 4" not in one]
    assert not wrong, json.dumps(wrong, ensure_ascii=False, indent=1)
