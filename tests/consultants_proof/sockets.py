"""Every consultant gets every notification exactly once: two API processes, sockets cut and resumed."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.consultants_proof.devices import Device, listening
from tests.consultants_proof.stack import ConsultantStack, percentile
from tests.support.waiting import wait_until_async

CUT_SHARE = 0.2
CUTS_EACH = 3
AWAY_MOST_SECONDS = 2.0
ARRIVE_SECONDS = 60.0


@dataclass(frozen=True)
class Run:
    """What one run came to. Seconds run from acceptance (the database's clock) to the frame in the device's hands."""

    name: str
    devices: int
    customers: int
    frames: int
    missed: int
    twice: int
    disorder: int
    cuts: int
    resumed_frames: int
    p50_seconds: float
    p99_seconds: float
    longest_seconds: float
    notifications: int
    confirmed: int

    def line(self) -> str:
        return (
            f"| {self.name} | {self.devices} × {self.customers} | {self.frames} | {self.missed} | {self.twice} | {self.cuts} | "
            f"{self.resumed_frames} | {self.p50_seconds * 1000:.0f} ms | {self.p99_seconds * 1000:.0f} ms | "
            f"{self.longest_seconds * 1000:.0f} ms | {self.notifications}, {self.confirmed} |"
        )

    def problems(self) -> list[str]:
        wanted = self.devices * self.customers
        figures = {
            "frames": (self.frames, wanted),
            "missed": (self.missed, 0),
            "received twice": (self.twice, 0),
            "out of order": (self.disorder, 0),
            "notifications": (self.notifications, wanted),
            "notifications confirmed": (self.confirmed, wanted),
        }
        return [
            f"{self.name}: {what}: {found} instead of {right}"
            for what, (found, right) in figures.items()
            if found != right
        ]


HEAD = (
    "| sockets | consultants × customers | frames received | missed | twice | cuts | frames that followed a resume | accept → frame p50 | "
    "p99 | longest | notifications, confirmed |\n|" + " --- |" * 11
)


def run(*, consultants: int, customers: int, per_second: float) -> list[Run]:
    """Register so many customers while everybody listens; then again while a fifth of the sockets is cut at random."""
    with ConsultantStack(lambda _: [{}] * consultants) as stack:
        return asyncio.run(runs(stack, customers=customers, per_second=per_second))


async def runs(stack: ConsultantStack, *, customers: int, per_second: float) -> list[Run]:
    """Both runs on a stack that is up."""
    found = []
    async with listening(stack.consultants, stack.api_urls) as devices:
        # Processes have done everything once before it counts.
        await _registered(stack, devices, 3, per_second, cut=False)
        for cut in (False, True):
            found.append(await _registered(stack, devices, customers, per_second, cut=cut))
    return found


async def _registered(
    stack: ConsultantStack, devices: Sequence[Device], customers: int, per_second: float, *, cut: bool
) -> Run:
    began = time.time()
    for device in devices:
        device.frames.clear()
        device.cuts = 0
    cutting = asyncio.create_task(_cut(devices, customers / per_second)) if cut else None
    await stack.registered(customers, per_second=per_second)
    if cutting is not None:
        await cutting
    await wait_until_async(
        lambda: all(len(device.of("new_customer")) >= customers for device in devices),
        timeout_seconds=ARRIVE_SECONDS,
        poll_seconds=0.1,
    )
    await asyncio.to_thread(stack.settle)
    ours = f"FROM notifications n JOIN journeys j ON j.id = n.journey_id WHERE j.accepted_at >= to_timestamp({began})"
    confirmed = f"SELECT count(*) {ours} AND n.delivered_at IS NOT NULL AND n.channel = 'websocket'"
    total = customers * len(devices)
    await stack.reaches(confirmed, total, timeout_seconds=ARRIVE_SECONDS)
    accepted = stack.rows(
        "SELECT v.id::text, extract(epoch FROM j.accepted_at)::float8 FROM journeys j JOIN conversations v ON v.journey_id = j.id "
        f"WHERE j.accepted_at >= to_timestamp({began})"
    )
    counts = (int(stack.number(f"SELECT count(*) {ours}")), int(stack.number(confirmed)))
    return _judged(devices, {str(one): float(str(at)) for one, at in accepted}, counts, cut=cut)


async def _cut(devices: Sequence[Device], seconds: float) -> None:
    """Cut a fifth of the devices, each some times, at moments spread over so many seconds."""
    chosen = random.sample(list(devices), max(1, round(len(devices) * CUT_SHARE)))
    moments = sorted(
        ((random.uniform(0, seconds), device) for device in chosen for _ in range(CUTS_EACH)), key=lambda one: one[0]
    )
    began = time.monotonic()
    for moment, device in moments:
        await asyncio.sleep(max(0.0, moment - (time.monotonic() - began)))
        device.cut(away_seconds=random.uniform(0, AWAY_MOST_SECONDS))


def _judged(devices: Sequence[Device], accepted: dict[str, float], counts: tuple[int, int], *, cut: bool) -> Run:
    missed = twice = disorder = resumed = 0
    seconds: list[float] = []
    for device in devices:
        told = Counter(frame.data["conversation_id"] for frame in device.of("new_customer"))
        missed += len(accepted.keys() - told.keys())
        twice += sum(number - 1 for number in told.values())
        numbers = [int(frame.id) for frame in device.frames]
        disorder += numbers != sorted(numbers)
        for frame in device.of("new_customer"):
            late = frame.at - datetime.fromisoformat(frame.data["timestamp"]).timestamp()
            resumed += device.cuts > 0 and late > 1.0
            # What a device missed while it was away says nothing about the way there.
            if not device.cuts:
                seconds.append(frame.at - accepted[frame.data["conversation_id"]])
    return Run(
        name=f"{CUT_SHARE:.0%} cut at random, {CUTS_EACH} times each" if cut else "left alone",
        devices=len(devices),
        customers=len(accepted),
        frames=sum(len(device.of("new_customer")) for device in devices),
        missed=missed,
        twice=twice,
        disorder=disorder,
        cuts=sum(device.cuts for device in devices),
        resumed_frames=resumed,
        p50_seconds=percentile(seconds, 0.5),
        p99_seconds=percentile(seconds, 0.99),
        longest_seconds=max(seconds, default=0.0),
        notifications=counts[0],
        confirmed=counts[1],
    )
