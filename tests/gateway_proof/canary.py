"""A canary that fails half of the time, from its start by an administrator to its end by itself, and who noticed."""

import time
from dataclasses import dataclass
from typing import Any

from tests.gateway_proof.people import people, register
from tests.gateway_proof.stack import AGENT_KEY, ProofStack

CANARY_KEY = "app-proof-canary"
PERCENT = 10
# Customers who come after the rollback: none of them may meet the canary.
AFTERWARDS = 60


@dataclass(frozen=True)
class Canary:
    """How the canary's story ended."""

    customers: int
    rolled_back: bool
    seconds: float
    canary_calls: int
    canary_failed: int
    calls_afterwards: int
    by_template: int
    late: int
    ungreeted: int
    slowest_seconds: float
    alerts: int
    audited: int
    reason: str

    def report(self) -> str:
        ended = f"rolled back by itself after {self.seconds:.0f} s" if self.rolled_back else "NOT rolled back"
        return (
            f"canary at {PERCENT} %, half of its calls fail: {ended}, {self.canary_calls} calls of which {self.canary_failed} failed "
            f"({self.reason}); alerts {self.alerts}, audit entries {self.audited}, calls afterwards {self.calls_afterwards}; of "
            f"{self.customers} customers {self.by_template} got the template, {self.late} were greeted after 3 s, {self.ungreeted} not at all; "
            f"slowest greeting {self.slowest_seconds:.2f} s"
        )

    def problems(self) -> list[str]:
        found = []
        if not self.rolled_back:
            found.append("the canary was not rolled back")
        if self.by_template + self.late + self.ungreeted:
            found.append(f"{self.by_template + self.late + self.ungreeted} customers noticed the canary")
        if self.rolled_back and (self.alerts, self.audited) != (1, 1):
            found.append(f"{self.alerts} alerts and {self.audited} audit entries of one rollback")
        if self.calls_afterwards:
            found.append(f"{self.calls_afterwards} calls to the canary after its rollback")
        return found


def run(*, most: int, per_second: float) -> Canary:
    """Register customers until the canary is gone, `most` at most."""
    keys = ("--app-key", f"{AGENT_KEY}:quick", "--app-key", f"{CANARY_KEY}:flaky")
    with ProofStack(agent_arguments=(*keys, "--latency-scale", "1")) as stack:
        register(stack, people(5), per_second=5)
        stack.settle()
        canary_id = _begin(stack)
        began = time.monotonic()
        status = f"SELECT status FROM agent_versions WHERE id = '{canary_id}'"
        sent = 0
        while sent < most and stack.scalar(status) == "canary":
            register(stack, people(batch := round(per_second * 3)), per_second=per_second)
            sent += batch
        seconds = _rolled_back_after(stack, canary_id)
        stack.settle()
        calls = f"SELECT count(*) FROM agent_calls WHERE version_id = '{canary_id}'"
        before = stack.scalar(calls)
        register(stack, people(AFTERWARDS), per_second=per_second)
        stack.settle()
        assert time.monotonic() - began < 600
        return _judged(stack, canary_id, sent + AFTERWARDS, seconds, int(str(stack.scalar(calls))) - int(str(before)))


def _begin(stack: ProofStack) -> str:
    """Make a stable version and a canary, as an administrator does."""
    with stack.admin() as admin:
        (agent,) = admin.get("/agents").json()["data"]["items"]
        path = f"/agents/{agent['id']}/versions"
        admin.post(path, json={"label": "stable"}).raise_for_status()
        new = {"label": "new", "status": "canary", "canary_percent": PERCENT, "api_key": CANARY_KEY}
        made: dict[str, Any] = admin.post(path, json=new).raise_for_status().json()["data"]
        return str(made["id"])


def _rolled_back_after(stack: ProofStack, canary_id: str) -> float:
    seconds = stack.scalar(
        "SELECT extract(epoch FROM status_changed_at - created_at)::float8 FROM agent_versions "
        f"WHERE id = '{canary_id}' AND status = 'rolled_back'"
    )
    return float(str(seconds)) if seconds is not None else 0.0


def _judged(stack: ProofStack, canary_id: str, customers: int, seconds: float, afterwards: int) -> Canary:
    ((calls, failed),) = stack.rows(
        f"SELECT count(*), count(*) FILTER (WHERE status = 'failed') FROM agent_calls WHERE version_id = '{canary_id}'"
    )
    # The first five came before the canary.
    ((template, late, ungreeted, slowest),) = stack.rows(
        "SELECT count(*) FILTER (WHERE greeted_by = 'template'), count(*) FILTER (WHERE greeted_at - accepted_at > interval '3 s'), "
        "count(*) FILTER (WHERE greeted_at IS NULL), max(extract(epoch FROM greeted_at - accepted_at))::float8 FROM journeys "
        f"WHERE accepted_at > (SELECT created_at FROM agent_versions WHERE id = '{canary_id}')"
    )
    return Canary(
        customers=customers,
        rolled_back=seconds > 0,
        seconds=seconds,
        canary_calls=int(str(calls)),
        canary_failed=int(str(failed)),
        calls_afterwards=afterwards,
        by_template=int(str(template)),
        late=int(str(late)),
        ungreeted=int(str(ungreeted)),
        slowest_seconds=float(str(slowest)),
        alerts=int(str(stack.scalar(f"SELECT count(*) FROM alerts WHERE key = 'canary:{canary_id}'"))),
        audited=int(
            str(
                stack.scalar(
                    "SELECT count(*) FROM audit_log WHERE action = 'agent_version.rolled_back' "
                    f"AND subject = 'agent-version:{canary_id}'"
                )
            )
        ),
        reason=str(stack.scalar(f"SELECT status_reason FROM agent_versions WHERE id = '{canary_id}'")),
    )
