"""The ladder as it runs: beat, worker and broker as processes, workers killed while rungs are being climbed."""

import signal

import pytest

from services import automation
from tests.consultants.conftest import connect, customer_waits, execute, rows, tell
from tests.consultants.receiver import Receiver
from tests.support.factories import create_consultant, create_push_channel
from tests.support.processes import OwnProcess
from tests.support.waiting import wait_until

CUSTOMERS = 12
WORKER = [
    "-m",
    "celery",
    "-A",
    "worker.app",
    "worker",
    "--queues",
    "notifications",
    "--pool",
    "prefork",
    "--concurrency",
    "2",
]
# In minutes: half a second apart.
LADDER = [
    {"action": action, "after_minutes": seconds / 60}
    for action, seconds in (("remind", 0.5), ("widen", 1.0), ("supervisor", 1.5), ("reassign", 2.0))
]


@pytest.mark.timeout(180)
def test_workers_killed_while_they_climb_lose_no_rung_and_double_none(receiver: Receiver) -> None:
    automation.change({"escalation": {"working_hours_only": False, "ladder": LADDER}}, actor="test")
    online, away = create_consultant(), create_consultant(is_supervisor=True)
    connect(online)
    for one in (online, away):
        create_push_channel(one, f"{receiver.url}/{one.id}")
    tell(*[customer_waits() for _ in range(CUSTOMERS)])
    environment: dict[str, object] = {"ANMEI_FAULTS": "after_commit=kill:0.15,before_commit=kill:0.15"}
    with OwnProcess(["-m", "worker.cli", "beat"]):
        # Children of this worker die again and again, in the middle of rungs; then the whole of it does.
        with OwnProcess(WORKER, environment) as dying:
            wait_until(lambda: done("widen") >= 3, timeout_seconds=60)
            dying.send(signal.SIGKILL)
        with OwnProcess(WORKER):
            wait_until(lambda: done("reassign") == CUSTOMERS, timeout_seconds=90)
            # The leases of the killed run out.
            execute(
                "UPDATE escalation_pushes SET lease_until = now(), due_at = now(), sweep_at = now() WHERE status = 'pending'"
            )
            wait_until(lambda: pending_pushes() == 0, timeout_seconds=60)
    assert rows("SELECT action, status, count(*) FROM escalations GROUP BY 1, 2 ORDER BY min(rung)") == [
        (one["action"], "done", CUSTOMERS) for one in LADDER
    ]
    assert rows("SELECT count(*), count(DISTINCT dedup_key) FROM events WHERE type = 'escalation'") == [
        (CUSTOMERS * len(LADDER), CUSTOMERS * len(LADDER))
    ]
    assert rows("SELECT count(*) FROM audit_log WHERE actor = 'escalation'") == [(CUSTOMERS * len(LADDER),)]
    assert rows("SELECT count(*) FROM claims WHERE released_at IS NULL") == [(CUSTOMERS,)]
    # A repeat after a lost answer carries the same key, so it can be told from a second push.
    pushed = {one.headers["idempotency-key"] for one in receiver.received}
    assert pushed >= {str(row[0]) for row in rows("SELECT id FROM escalation_pushes WHERE status = 'sent'")}


def done(action: str) -> int:
    return int(str(rows("SELECT count(*) FROM escalations WHERE action = :a AND status = 'done'", a=action)[0][0]))


def pending_pushes() -> int:
    return int(str(rows("SELECT count(*) FROM escalation_pushes WHERE status = 'pending'")[0][0]))
