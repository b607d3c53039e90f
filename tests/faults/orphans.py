"""How long an orphan lies: from the end of a dead worker's lease until somebody else is at its step."""

from tests.faults.load import send
from tests.faults.run import BROKERS
from tests.faults.stack import Stack
from tests.support.waiting import wait_until

# As a worker that died right after its claim leaves it, with a lease short enough to wait for.
ORPHAN = """
UPDATE journey_steps SET status = 'running', lease_token = gen_random_uuid(),
    lease_until = clock_timestamp() + interval '2 s', sweep_at = clock_timestamp() + interval '2 s'
WHERE name = 'generate_welcome' AND status = 'pending' AND due_at IS NOT NULL
"""
LEASES = "CREATE TABLE orphan_leases AS SELECT journey_id, lease_until FROM journey_steps WHERE lease_until IS NOT NULL"
TAKEN = "SELECT count(*) FROM journey_steps WHERE name = 'generate_welcome' AND status <> 'succeeded'"
LAIN = """
SELECT extract(epoch FROM a.started_at - l.lease_until)::float
FROM orphan_leases l JOIN step_attempts a ON a.journey_id = l.journey_id AND a.step = 'generate_welcome' ORDER BY 1
"""


def measure(count: int = 50, broker: str = "redis") -> list[float]:
    """Return, for each of so many orphans, the seconds it lay beyond its lease; shortest first."""
    with Stack(BROKERS[broker]) as stack:
        stack.supervisor.hold("agents")
        send(stack.api_url, stack.webhook_secret, count=count, per_second=50)
        opened = "SELECT count(*) FROM conversations"
        wait_until(lambda: stack.scalar(opened) == count, timeout_seconds=30)
        stack.broker.empty()
        stack.execute(ORPHAN)
        stack.execute(LEASES)
        stack.supervisor.let_up("agents")
        wait_until(lambda: stack.scalar(TAKEN) == 0, timeout_seconds=60, poll_seconds=0.1)
        return [float(str(row[0])) for row in stack.rows(LAIN)]
