"""``python -m tests.admin.measuring``: pages beside a million journeys: response times, first paint, bytes, the dashboard's plans.

The journeys span a week, as they would at 100 a minute: every one of them is in the longest window. Writes docs/proof/pages.md.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import typer
from sqlalchemy import event

from bench import fill as filling
from bench.plan_measuring import reads_of
from bench.processes import ROOT, Processes, answers, free_port
from bench.report import aligned
from bench.servers import Servers
from tests.admin.browser import Browser, find_chromium
from tests.support.waiting import wait_until

WEEK_SECONDS = 7 * 24 * 3600
REPEATS = 5
PASSWORD = "a long enough password"
PAGES = ("login", "dashboard?window=1h", "dashboard", "dashboard?window=7d", "journeys", "journeys?status=failed")
PAGES += ("dead-letters", "agents", "settings/registration-automation", "mcp/calls", "users", "audit")
# First paint, and all bytes that went over the wire, by the browser's own clock and books.
PAINT = """new Promise(done => new PerformanceObserver(list => list.getEntriesByName("first-contentful-paint")
  .forEach(one => done(one.startTime))).observe({type: "paint", buffered: true}))"""
BYTES = """[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .map(one => one.transferSize)"""
# What one collection of the dashboard asks the database, each statement then explained with its own values.
EXPLAIN = "import tests.admin.measuring as m; m.print_plans()"

# A part of a page whose figures are still being collected.
COMPUTING = 'class="empty computing"'

Row = list[str]


def main(
    journeys: Annotated[int, typer.Option(help="Finished journeys to fill in.")] = 1_000_000,
    output: Annotated[Path, typer.Option(help="Where the page is written.")] = ROOT / "docs" / "proof" / "pages.md",
) -> None:
    """Fill, measure, write the page."""
    with Servers(durable=False) as servers:
        environment: dict[str, object] = {
            "ANMEI_DATA_DIR": servers.folder,
            "ANMEI_DATABASE_URL": servers.database_url(),
            "ANMEI_BROKER_URL": servers.broker_url,
            "ANMEI_REDIS_URL": servers.redis_url,
        }
        with Processes(servers.folder, environment) as processes:
            processes.run("-m", "worker.cli", "migrate")
            processes.run("-m", "bench.seed", "http://127.0.0.1:9/v1", "20")
            processes.run("-c", _administrator())
            _fill(servers.database_url(), journeys)
        text = measure(servers.folder, environment, journeys)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    print(text)


def measure(folder: Path, environment: dict[str, object], journeys: int) -> str:
    """Return the page for a database that is filled."""
    port = free_port()
    with Processes(folder, environment | {"ANMEI_API_PORT": port}) as processes:
        processes.start("api", "-m", "worker.cli", "api")
        site = f"http://127.0.0.1:{port}"
        _wait_for(site)
        rows = _measured(site)
        plans = json.loads(processes.run("-c", EXPLAIN).splitlines()[-1])
    return _document(journeys, rows, plans)


def print_plans() -> None:
    """Print what each window's collection asks: the statement's beginning, milliseconds, blocks, reads. For a child process."""
    from core import database
    from services import dashboard

    seen: list[tuple[str, Any]] = []
    engine = database.engine()
    event.listen(engine, "before_cursor_execute", lambda _c, _u, text, given, *_: seen.append((text, given)))
    found = []
    for window in dashboard.Window:
        seen.clear()
        dashboard.forget()
        dashboard.read(window)
        asked = list(seen)
        with engine.connect() as connection, connection.begin():
            for text, given in asked:
                if text.lstrip().upper().startswith(("SELECT", "WITH")):
                    found.append([str(window), *_explained(connection.connection.cursor(), text, given)])
    sys.stdout.write(json.dumps(found) + "\n")


def _explained(cursor: Any, text: str, given: Any) -> list[Any]:
    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", given)
    answer = cursor.fetchone()[0][0]
    plan = answer["Plan"]
    blocks = plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
    return [" ".join(text.split())[:70], answer["Execution Time"], blocks, sorted(set(reads_of(plan)))]


def _administrator() -> str:
    return (
        "from pydantic import SecretStr; from services import users; from services.permissions import Role; "
        f"users.create_staff_user('measuring', SecretStr({PASSWORD!r}), [Role.ADMIN], actor='measuring')"
    )


def _fill(url: str, journeys: int) -> None:
    filling.SECONDS_BETWEEN = (WEEK_SECONDS - 7200) / journeys  # type: ignore[assignment] # a share of a second
    with psycopg.connect(url, autocommit=True) as connection:
        filling.fill(connection, journeys, say=lambda line: print(line, flush=True))


def _measured(site: str) -> list[Row]:
    executable = find_chromium()
    assert executable is not None, "no Chromium here: apt-get install chromium"
    rows = []
    with Browser(executable) as browser:
        for page in PAGES:
            url = f"{site}/admin/{page}"
            cookies = {one["name"]: one["value"] for one in browser.send("Network.getCookies")["cookies"]}
            first, whole, later = _asked(url, cookies)
            paints, sent, requests = [], [], 0
            for _ in range(REPEATS):
                browser.send("Network.clearBrowserCache")
                browser.open(url)
                sizes = browser.run(BYTES)
                paints.append(float(browser.run(PAINT)))
                sent.append(sum(sizes))
                requests = len(sizes)
            shown = [
                f"{first:.0f}",
                f"{whole:.0f}",
                f"{statistics.median(later):.0f}",
                f"{statistics.median(paints):.0f}",
            ]
            rows.append([f"/admin/{page}", *shown, f"{statistics.median(sent) / 1000:.1f}", str(requests)])
            if page == "login":
                browser.fill("#f-username", "measuring")
                browser.fill("#f-password", PASSWORD)
                browser.click("main form button")
    return rows


def _asked(url: str, cookies: dict[str, str]) -> tuple[float, float, list[float]]:
    """Return the milliseconds of the first answer, until it was whole, and of those after it, without a browser."""
    with httpx.Client(cookies=cookies, timeout=120) as client:

        def ask() -> tuple[float, bool]:
            began = time.perf_counter()
            answer = client.get(url)
            assert answer.status_code == 200, f"{url}: {answer.status_code}"
            return (time.perf_counter() - began) * 1000, COMPUTING not in answer.text

        began = time.perf_counter()
        first, is_whole = ask()
        if not is_whole:
            wait_until(lambda: ask()[1], timeout_seconds=120, poll_seconds=0.1)
        whole = (time.perf_counter() - began) * 1000
        return first, whole, [ask()[0] for _ in range(REPEATS)]


def _wait_for(site: str) -> None:
    wait_until(lambda: answers(f"{site}/readyz"), timeout_seconds=60, poll_seconds=0.2)


def _document(journeys: int, rows: list[Row], plans: list[list[Any]]) -> str:
    pages = aligned([["page", "first ms", "whole ms", "later ms", "first paint ms", "kB cold", "requests"], *rows])
    asked = [["window", "statement", "ms", "blocks"]]
    asked += [[window, text, f"{ms:.1f}", str(blocks)] for window, text, ms, blocks, _ in plans]
    reads = "\n".join(
        f"- `{text}`: {'; '.join(found) or 'no table'}" for window, text, _, _, found in plans if window == "7d"
    )
    return (
        "# Pages\n\n"
        f"Beside {journeys:,} journeys accepted within the last seven days (100 a minute), so that all of them are in the longest "
        "window. `first`: the answer of a process that has collected nothing yet; `whole`: until nothing on it was being "
        "computed any more, asked ten times a second; `later`: the median of "
        f"{REPEATS} after it; first paint and bytes on a cold load in headless Chromium, the median of {REPEATS}. "
        "Written by `python -m tests.admin.measuring`.\n\n"
        f"```\n{pages}\n```\n\n"
        "What one collection of the dashboard asks the database (EXPLAIN ANALYZE, its own overhead included):\n\n"
        f"```\n{aligned(asked)}\n```\n\nHow the statements of the seven days read their tables:\n\n{reads}\n"
    )


if __name__ == "__main__":
    typer.run(main)
