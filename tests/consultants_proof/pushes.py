"""Nobody is online: pushes to a receiver's process, by HTTP and to browsers, through every way a receiver may fail."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from bench.processes import free_port
from tests.consultants.browser import Browser, signed_by
from tests.consultants.receiver import Received
from tests.consultants_proof.stack import ConsultantStack, percentile
from tests.support.waiting import wait_until

PER_SECOND = 2.0
DONE_SECONDS = 240.0
# The busy receiver answers 500 to all first attempts, and to half of the second ones.
BUSY_REQUESTS_EACH = 1.5
OPEN = "SELECT count(*) FROM notifications WHERE status = 'pending'"


@dataclass(frozen=True)
class Case:
    """One consultant's channels, in their order, as path and kind; paths say how the receiver behaves."""

    name: str
    channels: Sequence[tuple[str, str]]
    # The channel that takes the push in the end; None where none does.
    taken_by: str | None


CASES = (
    Case("a telephone (HTTP)", [("http", "phone")], "phone"),
    Case("a browser (web push)", [("webpush", "browser")], "browser"),
    Case("answers 500 once or twice", [("http", "busy")], "busy"),
    Case("stays at 500, a browser behind it", [("http", "down"), ("webpush", "behind-down")], "behind-down"),
    Case("nobody listens, a telephone behind it", [("http", "nobody"), ("http", "behind-nobody")], "behind-nobody"),
    Case("a browser that is gone (410), a telephone behind it", [("webpush", "gone"), ("http", "behind-gone")], "behind-gone"),
    Case("stays at 500, nothing behind it", [("http", "never")], None),
)  # fmt: skip


@dataclass
class Row:
    """What one consultant's pushes came to. Seconds run from acceptance to the receiver's 2xx."""

    name: str
    taken: int = 0
    distinct: int = 0
    refused: int = 0
    states: str = ""
    seconds: list[float] = field(default_factory=list)
    gaps: list[list[float]] = field(default_factory=list)

    def line(self) -> str:
        gaps = ", ".join(f"{min(one):.1f}–{max(one):.1f} s" for one in self.gaps if one) or "–"
        times = f"{percentile(self.seconds, 0.5):.2f} s, {max(self.seconds):.2f} s" if self.seconds else "–"
        return f"| {self.name} | {self.distinct} | {self.taken - self.distinct} | {self.refused} | {gaps} | {times} | {self.states} |"


HEAD = (
    "| consultant's channels | customers pushed | twice | attempts refused | waits before the 2nd, 3rd, 4th attempt | accept → received p50, "
    "longest | notifications |\n|" + " --- |" * 7
)


@dataclass
class Pushes:
    rows: list[Row]
    wrong: list[str]
    decrypted: int

    def report(self) -> str:
        return "\n".join((HEAD, *(row.line() for row in self.rows))) + (
            f"\n\n{self.decrypted} web pushes decrypted with their browser's key, their VAPID signature checked."
        )


def run(*, customers: int, delays: Sequence[float] = (5, 15, 60)) -> Pushes:
    """Register so many customers while nobody is online, the receiver misbehaving by path; wait for every push's end."""
    browsers: dict[str, Browser] = {}
    retry = {"max_retries": 3, "delays_seconds": list(delays)}
    with ConsultantStack(partial(_wanted, browsers), settings={"retry": retry}) as stack:
        return runs(stack, browsers, customers=customers, delays=delays)


def _wanted(browsers: dict[str, Browser], push_url: str) -> list[dict[str, Any]]:
    return [{"channels": [_channel(browsers, push_url, *one) for one in case.channels]} for case in CASES]


def _channel(browsers: dict[str, Browser], push_url: str, kind: str, path: str) -> dict[str, str]:
    url = f"http://127.0.0.1:{free_port()}/{path}" if path == "nobody" else f"{push_url}/{path}"
    if kind == "http":
        return {"kind": kind, "url": url}
    browsers[path] = Browser(url)
    return {"kind": kind, "url": json.dumps(browsers[path].subscription)}


def runs(stack: ConsultantStack, browsers: dict[str, Browser], *, customers: int, delays: Sequence[float]) -> Pushes:
    """The cases on a stack that is up."""
    faults: list[dict[str, Any]] = [
        {"path": "/down", "status": 500},
        {"path": "/never", "status": 500},
        {"path": "/gone", "status": 410},
        {"path": "/busy", "status": 500, "count": round(customers * BUSY_REQUESTS_EACH)},
    ]
    for fault in faults:
        stack.receiver("POST", "faults", {"kind": "status", **fault})
    stack.register(customers, per_second=PER_SECOND)
    stack.settle()
    wait_until(lambda: stack.number(OPEN) == 0, timeout_seconds=DONE_SECONDS, poll_seconds=0.5)
    return _judged(stack, browsers, customers, delays)


def _judged(stack: ConsultantStack, browsers: dict[str, Browser], customers: int, delays: Sequence[float]) -> Pushes:
    received = stack.receiver("GET", "received")["received"]
    accepted = {
        str(one): float(str(at))
        for one, at in stack.rows(
            "SELECT v.id::text, extract(epoch FROM j.accepted_at)::float8 FROM journeys j JOIN conversations v ON v.journey_id = j.id"
        )
    }
    pushes = Pushes([], [], 0)
    for case, consultant in zip(CASES, stack.consultants, strict=True):
        row = Row(case.name)
        states = stack.rows(
            f"SELECT status, error_code, count(*) FROM notifications WHERE consultant_id = '{consultant.consultant_id}' "
            "GROUP BY 1, 2 ORDER BY 1"
        )
        row.states = ", ".join(f"{number} {status}{f' ({code})' if code else ''}" for status, code, number in states)
        _read(stack, case, row, pushes, received, browsers, accepted)
        wanted = customers if case.taken_by else 0
        if (row.taken, row.distinct) != (wanted, wanted):
            pushes.wrong.append(
                f"{case.name}: {row.taken} pushes taken, {row.distinct} of them different, instead of {wanted}"
            )
        for place, gaps in enumerate(row.gaps):
            if gaps and min(gaps) < delays[min(place, len(delays) - 1)] - 0.05:
                pushes.wrong.append(f"{case.name}: attempt {place + 2} came after {min(gaps):.2f} s")
        pushes.rows.append(row)
    return pushes


def _read(
    stack: ConsultantStack,
    case: Case,
    row: Row,
    pushes: Pushes,
    received: list[dict[str, Any]],
    browsers: dict[str, Browser],
    accepted: dict[str, float],
) -> None:
    """Fill the row in from what the receiver wrote down."""
    ours = [one for one in received if one["path"].removeprefix("/") in {path for _, path in case.channels}]
    row.refused = sum(1 for one in ours if one["answered"] != 200)
    keys = []
    for one in ours:
        if one["answered"] != 200:
            continue
        body = one["body"]
        if one["path"].removeprefix("/") in browsers:
            body = _decrypted(stack, browsers[one["path"].removeprefix("/")], one)
            pushes.decrypted += 1
        if one["path"] != f"/{case.taken_by}":
            pushes.wrong.append(f"{case.name}: taken by {one['path']}")
        keys.append(body["notification_id"])
        row.seconds.append(_time(one) - accepted[body["conversation_id"]])
    row.taken, row.distinct = len(keys), len(set(keys))
    attempts: dict[str, list[float]] = {}
    for one in ours:
        if one["idempotency_key"]:
            attempts.setdefault(one["idempotency_key"], []).append(_time(one))
    row.gaps = [
        [times[place + 1] - times[place] for times in attempts.values() if len(times) > place + 1] for place in range(3)
    ]


def _decrypted(stack: ConsultantStack, browser: Browser, one: dict[str, Any]) -> dict[str, Any]:
    push = Received(one["path"], one["headers"], base64.b64decode(one["body_base64"]), one["answered"])
    signed_by(push, stack.webpush_key, stack.push_url)
    return browser.read(push)


def _time(one: dict[str, Any]) -> float:
    return datetime.fromisoformat(one["received_at"]).timestamp()
