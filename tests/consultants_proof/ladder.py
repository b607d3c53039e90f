"""The ladder on a whole stack: every rung, claims after each of them, API, worker and sweeper processes killed meanwhile."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import httpx

from tests.consultants_proof.devices import Device, listening
from tests.consultants_proof.stack import Consultant, ConsultantStack, percentile
from tests.support.waiting import wait_until, wait_until_async

ACTIONS = ("remind", "widen", "supervisor", "reassign", "reassign", "reassign")
# Seconds between rungs, in place of minutes.
RUNG_SECONDS = 5.0
# Not before rungs were done since the last kill, too: a process needs seconds of a core to come up, and two busy cores would do
# nothing but start processes.
KILL_EVERY_SECONDS = 2.0
CLIMBED = "SELECT count(*) FROM escalations WHERE status = 'done'"
END_SECONDS = 300.0
# In turn, and again; the sweepers hold each other's place.
VICTIMS = ("worker's child", "api", "worker", "beat1", "api2", "worker's child", "beat2")
SETTINGS: dict[str, Any] = {
    "escalation": {
        "working_hours_only": False,
        "ladder": [
            {"action": action, "after_minutes": RUNG_SECONDS * (place + 1) / 60} for place, action in enumerate(ACTIONS)
        ],
    }
}


@dataclass(frozen=True)
class Ladder:
    """What the run came to."""

    customers: int
    killed: Counter[str]
    done: list[tuple[str, int]]
    # Customers by how many rungs were done for them when somebody took them; all six where nobody did.
    taken_after: list[int]
    stopped: int
    to_the_end: int
    doubled: int
    lost: int
    after_stop: int
    late_p50: float
    late_longest: float
    pushes: int
    pushes_lost: int
    pushes_twice: int
    frames: int
    frames_missed: int
    frames_twice: int

    def report(self) -> str:
        killed = ", ".join(f"{number} {name}" for name, number in sorted(self.killed.items()))
        rungs = ", ".join(f"{number} {name}" for name, number in self.done)
        return (
            "| customers | killed (SIGKILL) | rungs done | taken after 0, 1, … 5 rungs; to the end | rungs lost | done twice | told after the stop | "
            "due → done p50, longest | pushes of rungs, lost, repeated | frames of rungs, missed, twice |\n|"
            + " --- |"
            * 10
            + "\n"
            f"| {self.customers} | {killed or 'nothing'} | {rungs} | {', '.join(map(str, self.taken_after))}; {self.to_the_end} | {self.lost} | "
            f"{self.doubled} | {self.after_stop} | {self.late_p50:.2f} s, {self.late_longest:.1f} s | "
            f"{self.pushes}, {self.pushes_lost}, {self.pushes_twice} | {self.frames}, {self.frames_missed}, {self.frames_twice} |"
        )

    def problems(self) -> list[str]:
        found = []
        if self.stopped + self.to_the_end != self.customers:
            found.append(
                f"{self.stopped} ladders stopped and {self.to_the_end} climbed to the end, of {self.customers}"
            )
        for what in ("lost", "doubled", "after_stop", "pushes_lost", "frames_missed", "frames_twice"):
            if getattr(self, what):
                found.append(f"{what.replace('_', ' ')}: {getattr(self, what)}")
        return found


def run(*, customers_each: int, kill: bool) -> Ladder:
    """Let so many customers climb to each rung and be taken there, and as many to the end."""
    with ConsultantStack(_wanted, settings=SETTINGS) as stack:
        return asyncio.run(runs(stack, customers_each=customers_each, kill=kill))


def _wanted(push_url: str) -> list[dict[str, Any]]:
    """Six at their desks, two on their way with a telephone, one of them a supervisor."""
    away = [{"channels": [{"kind": "http", "url": f"{push_url}/away-{number}"}]} for number in range(2)]
    away[0]["is_supervisor"] = True  # type: ignore[assignment] # one flag among channels
    return [*({} for _ in range(6)), *away]


async def runs(stack: ConsultantStack, *, customers_each: int, kill: bool) -> Ladder:
    """The run on a stack that is up."""
    async with listening(stack.consultants[:6], stack.api_urls) as devices:
        await stack.registered(customers_each * (len(ACTIONS) + 1), per_second=20)
        conversations = [str(one) for (one,) in stack.rows("SELECT id FROM conversations ORDER BY id")]
        killer = _Killer(stack) if kill else None
        try:
            async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
                taking = [
                    _take(stack, client, one, place // customers_each)
                    for place, one in enumerate(conversations)
                    if place // customers_each < len(ACTIONS)
                ]
                await asyncio.gather(*taking)
                await _climbed(stack, customers_each * (len(ACTIONS) + 1))
        finally:
            if killer is not None:
                await asyncio.to_thread(killer.stop)
        await asyncio.to_thread(_pushed, stack)
        wanted = _expected_frames(stack, stack.consultants[:6])
        await wait_until_async(
            lambda: all(
                len({frame.id for frame in one.of("escalation")}) >= len(wanted[one.consultant.consultant_id])
                for one in devices
            ),
            timeout_seconds=60,
        )
        return _judged(stack, devices, wanted, killer.killed if killer else Counter())


async def _take(stack: ConsultantStack, client: httpx.AsyncClient, conversation_id: str, rungs: int) -> None:
    """Claim the customer after so many rungs; one who was given to somebody already is answered by them."""
    done = f"SELECT count(*) FROM escalations WHERE conversation_id = '{conversation_id}' AND status = 'done'"
    await stack.reaches(done, rungs, timeout_seconds=END_SECONDS)
    holding = f"SELECT claimed_by_id::text FROM conversations WHERE id = '{conversation_id}'"
    while True:
        holder = await asyncio.to_thread(stack.scalar, holding)
        known = [one for one in stack.consultants if one.consultant_id == holder]
        path, body = ("messages", {"text": "您好"}) if known else ("claim", None)
        url = f"{random.choice(stack.api_urls)}/api/v1/conversations/{conversation_id}/{path}"
        try:
            answer = await client.post(url, json=body, headers=random.choice(known or stack.consultants).headers)
        except httpx.HTTPError:
            # The process was killed; whether it did as it was asked is not known, so it is asked again.
            await asyncio.sleep(0.3)
            continue
        if answer.status_code < 300:
            return
        # Moved on by the next rung meanwhile, or a database that a dying process left waiting.
        assert answer.status_code in (409, 503), answer.text


async def _climbed(stack: ConsultantStack, customers: int) -> None:
    ended = f"""
        SELECT count(DISTINCT e.conversation_id) FROM escalations e WHERE e.status = 'stopped'
        OR (e.status = 'done' AND e.rung = {len(ACTIONS) - 1})"""
    await stack.reaches(ended, customers, timeout_seconds=END_SECONDS)


def _pushed(stack: ConsultantStack) -> None:
    """Wait until the pushes of rungs are out, those of killed workers when their lease has run out."""
    unsent = (
        "SELECT (SELECT count(*) FROM escalation_pushes WHERE status = 'pending') + "
        "(SELECT count(*) FROM notifications WHERE status = 'pending')"
    )
    wait_until(lambda: stack.number(unsent) == 0, timeout_seconds=END_SECONDS, poll_seconds=0.5)


class _Killer:
    """Ends a process of the stack every few seconds, the way a crash does, until told to stop."""

    def __init__(self, stack: ConsultantStack) -> None:
        self._stack = stack
        self._stopped = threading.Event()
        self.killed: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._work, name="killer")
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        victims, climbed = cycle(VICTIMS), -1.0
        while not self._stopped.wait(KILL_EVERY_SECONDS):
            done = self._stack.number(CLIMBED)
            if done == climbed:
                continue
            climbed, victim = done, next(victims)
            role = self._stack.supervisor.roles[victim.removesuffix("'s child")]
            if role.process is None or role.process.poll() is not None:
                continue
            if victim != role.name:
                role.kill_a_child()
            else:
                role.kill_all()
            self.killed[victim.rstrip("12")] += 1


def _expected_frames(stack: ConsultantStack, consultants: Sequence[Consultant]) -> dict[str, set[str]]:
    """Return the numbers of the rungs' events that are for each consultant."""
    rows = stack.rows(
        "SELECT seq::text, coalesce(array_to_string(recipients, ' '), 'all') FROM events WHERE type = 'escalation'"
    )
    return {
        one.consultant_id: {str(seq) for seq, to in rows if to == "all" or one.consultant_id in str(to)}
        for one in consultants
    }


def _judged(
    stack: ConsultantStack,
    devices: Sequence[Device],
    wanted_frames: dict[str, set[str]],
    killed: Counter[str],
) -> Ladder:
    done = Counter({str(action): int(str(number)) for action, number in stack.rows(
        "SELECT action, count(*) FROM escalations WHERE status = 'done' GROUP BY 1")})  # fmt: skip
    stops = Counter(int(str(rung)) for (rung,) in stack.rows("SELECT rung FROM escalations WHERE status = 'stopped'"))
    order = list(dict.fromkeys(ACTIONS))
    late = [float(str(one)) for (one,) in stack.rows(
        "SELECT extract(epoch FROM ended_at - due_at) FROM escalations WHERE status = 'done'")]  # fmt: skip
    sent = Counter(one for one in stack.push_keys() if one)
    pushes = [str(one) for (one,) in stack.rows("SELECT id FROM escalation_pushes")]
    frames = {one.consultant.consultant_id: Counter(frame.id for frame in one.of("escalation")) for one in devices}
    return Ladder(
        customers=int(stack.number("SELECT count(*) FROM conversations")),
        killed=killed,
        done=[(action, done[action]) for action in order],
        stopped=int(stack.number("SELECT count(*) FROM escalations WHERE status = 'stopped'")),
        taken_after=[stops[place] for place in range(len(ACTIONS))],
        to_the_end=int(
            stack.number(f"SELECT count(*) FROM escalations WHERE status = 'done' AND rung = {len(ACTIONS) - 1}")
        ),
        doubled=int(stack.number(DOUBLED)),
        lost=int(stack.number(LOST)),
        after_stop=int(stack.number(AFTER_STOP)),
        late_p50=percentile(late, 0.5),
        late_longest=max(late, default=0.0),
        pushes=len(pushes),
        pushes_lost=sum(1 for one in pushes if not sent[one]),
        pushes_twice=sum(sent[one] - 1 for one in pushes if sent[one]),
        frames=sum(len(one) for one in frames.values()),
        frames_missed=sum(len(wanted_frames[one] - told.keys()) for one, told in frames.items()),
        frames_twice=sum(number - 1 for told in frames.values() for number in told.values()),
    )


# A rung done twice would have told its sockets, or been noted in the audit log, twice.
DOUBLED = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM escalations GROUP BY conversation_id, round, rung HAVING count(*) > 1) a)
     + abs((SELECT count(*) FROM escalations WHERE status = 'done') - (SELECT count(*) FROM events WHERE type = 'escalation'))
     + abs((SELECT count(*) FROM escalations WHERE status = 'done') - (SELECT count(*) FROM audit_log WHERE actor = 'escalation'))
"""
# A rung is lost when an earlier one was done and neither it nor a stop followed, or when a customer has no ladder at all.
LOST = f"""
SELECT (SELECT count(*) FROM conversations v WHERE NOT EXISTS (SELECT FROM escalations e WHERE e.conversation_id = v.id AND e.rung = 0))
     + count(*) FROM escalations e WHERE e.status = 'done' AND e.rung < {len(ACTIONS) - 1}
AND NOT EXISTS (SELECT FROM escalations n WHERE n.conversation_id = e.conversation_id AND n.round = e.round AND n.rung = e.rung + 1)
"""
AFTER_STOP = """
SELECT count(*) FROM escalations s JOIN escalations e ON e.conversation_id = s.conversation_id
WHERE s.status = 'stopped' AND e.status = 'done' AND e.ended_at > s.ended_at
"""
