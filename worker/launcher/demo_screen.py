"""What the demo shows: a live table on a terminal, plain lines elsewhere; then the summary and one journey in words."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import IO

from rich.console import Console as RichConsole
from rich.live import Live
from rich.table import Table

from core.database import unit_of_work
from models import StepName
from queries.progress import Latency, Progress, find_slowest_journey
from services.timeline import timeline
from worker.launcher.plan import Ports

_STEP_STATUSES = ("pending", "running", "waiting", "succeeded", "failed")
# Without a terminal a line now and then is enough.
_PLAIN_INTERVAL_SECONDS = 2.0
_REFUSALS_SHOWN = 3


class Screen:
    """The demo's part of the terminal, or of the log it is redirected to."""

    def __init__(self, stream: IO[str]) -> None:
        self.console = RichConsole(file=stream, highlight=False, width=None if stream.isatty() else 120)
        self._live: Live | None = None
        self._plain_at = 0.0
        self._plain_line = ""

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep a table in place while inside; on a terminal only."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, transient=True, refresh_per_second=8) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def show(self, progress: Progress, answered: int, count: int) -> None:
        """Show how far it has come."""
        if self._live is not None:
            self._live.update(_progress_table(progress, answered, count))
        elif time.monotonic() - self._plain_at > _PLAIN_INTERVAL_SECONDS:
            succeeded, failed = (progress.journeys.get(status, 0) for status in ("succeeded", "failed"))
            welcome = _milliseconds(progress.to_welcome.p50_ms)
            line = f"  sent {answered}/{count}, succeeded {succeeded}, failed {failed}, welcome p50 {welcome}"
            if line != self._plain_line:
                self._plain_at, self._plain_line = time.monotonic(), line
                self.say(line)


def _progress_table(progress: Progress, answered: int, count: int) -> Table:
    table = Table(title=f"{answered} of {count} sent, {progress.journeys.get('succeeded', 0)} finished")
    table.add_column("step")
    for status in _STEP_STATUSES:
        table.add_column(status, justify="right", min_width=9)
    for step in StepName:
        table.add_row(step.value, *(str(progress.steps.get((step.value, status), 0)) for status in _STEP_STATUSES))
    greeted = ", ".join(f"{count} by {source}" for source, count in sorted(progress.greeted.items())) or "none yet"
    table.caption = (
        f"welcomed: {greeted}\naccept → conversation {_both(progress.to_conversation)}   "
        f"accept → welcome {_both(progress.to_welcome)}"
    )
    return table


@dataclass(frozen=True)
class End:
    """What the demo saw from outside: how many it sent, who refused them why, and who heard of how many customers live."""

    sent: int
    refused: list[str]
    told_live: dict[str, int]


def show_end(screen: Screen, progress: Progress, ports: Ports, end: End) -> None:
    """Show the summary, where to look, and one journey's whole timeline."""
    screen.console.print(_summary_table(progress, end))
    for refusal in end.refused[:_REFUSALS_SHOWN]:
        screen.say(f"  refused: {refusal}")
    screen.say("while it ran, and with `make up` for as long as you like:")
    for name, url in (
        ("API and its documentation", f"{ports.api_url}/docs"),
        ("MCP", ports.mcp_url),
        ("Flower", ports.flower_url),
        ("metrics", "  ".join(ports.metrics_urls)),
    ):
        screen.say(f"  {name:<26} {url}")
    _show_timeline(screen)


def _summary_table(progress: Progress, end: End) -> Table:
    failed = progress.journeys.get("failed", 0)
    greeted = ", ".join(f"{number} by {source}" for source, number in sorted(progress.greeted.items())) or "none"
    told: dict[str, int] = {}
    for (channel, _), number in progress.notifications.items():
        told[channel] = told.get(channel, 0) + number
    channels = ", ".join(f"{number} by {channel}" for channel, number in sorted(told.items())) or "nobody"
    table = Table(title="summary", show_header=False)
    table.add_row("registrations sent", str(end.sent))
    refused = f" ({len(end.refused)} refused)" if end.refused else ""
    table.add_row("accepted", f"{progress.accepted}{refused}")
    table.add_row("succeeded", str(progress.journeys.get("succeeded", 0)))
    table.add_row("failed", str(failed))
    table.add_row("accept → conversation, p50 / p99", _both(progress.to_conversation))
    table.add_row("accept → welcome, p50 / p99", _both(progress.to_welcome))
    table.add_row("welcomed", greeted)
    table.add_row("notified", f"{progress.notified} journeys ({channels})")
    live = ", ".join(f"{name} {number}" for name, number in sorted(end.told_live.items())) or "nobody"
    table.add_row("heard of it live on the WebSocket", live)
    return table


def _show_timeline(screen: Screen) -> None:
    with unit_of_work() as session:
        journey_id = find_slowest_journey(session)
    if journey_id is None:
        return
    screen.say(f"one journey, the one that waited longest ({journey_id}):")
    for text, same in groupby(timeline(journey_id), key=lambda event: event.text):
        events = list(same)
        times = f" ({len(events)} times)" if len(events) > 1 else ""
        screen.say(f"  {events[0].since_accepted_ms:>8.0f} ms  {text}{times}")


def _both(latency: Latency) -> str:
    return f"{_milliseconds(latency.p50_ms)} / {_milliseconds(latency.p99_ms)}"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
