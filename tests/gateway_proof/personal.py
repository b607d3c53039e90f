"""How many welcomes of a healthy agent are proved personal, and that none tells of somebody else."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.gateway_proof.people import Person, people, register
from tests.gateway_proof.stack import AGENT_KEY, ProofStack

# With half of them gone to the template something is wrong, not slow.
LEAST_SHARE = 0.95


@dataclass(frozen=True)
class Personal:
    """What the welcomes came to."""

    customers: int
    by_agent: int
    by_template: int
    proved: int
    without_call: int
    without_facts: int
    foreign: int
    slowest_seconds: float
    late: int
    calls_failed: int

    def report(self) -> str:
        return (
            f"{self.customers} customers: {self.proved} welcomes proved personal ({self.proved / self.customers:.1%}: an MCP call of the "
            f"journey succeeded and its name, source and interests are in the text); first greeting by agent {self.by_agent}, by template "
            f"{self.by_template}; agent's text without an MCP call of its journey {self.without_call}, without its facts {self.without_facts}; "
            f"with another customer's name {self.foreign}; slowest greeting {self.slowest_seconds:.2f} s, after 3 s {self.late}; "
            f"failed MCP calls {self.calls_failed}"
        )

    def problems(self) -> list[str]:
        found = []
        if self.foreign:
            found.append(f"{self.foreign} welcomes with another customer's facts")
        if self.late:
            found.append(f"{self.late} customers were greeted after 3 s")
        if self.without_call or self.without_facts:
            found.append(f"{self.without_call + self.without_facts} welcomes of the agent are not personal")
        if self.proved < LEAST_SHARE * self.customers:
            found.append(f"only {self.proved} of {self.customers} welcomes are proved personal")
        return found


def run(*, count: int, per_second: float) -> Personal:
    """Welcome so many customers by an agent that takes 0.3 to 0.9 s besides its tool."""
    with ProofStack(agent_arguments=("--app-key", f"{AGENT_KEY}:quick", "--latency-scale", "1")) as stack:
        register(stack, people(5), per_second=5)
        stack.settle()
        customers = people(count)
        register(stack, customers, per_second=per_second)
        stack.settle()
        return _judged(stack, customers)


def _judged(stack: ProofStack, customers: Sequence[Person]) -> Personal:
    by_id = {one.user_id: one for one in customers}
    texts: dict[str, list[tuple[str, str]]] = {}
    rows = stack.rows(
        "SELECT u.external_id, m.source, m.content ->> 'text' FROM messages m JOIN journeys j ON j.id = m.journey_id "
        "JOIN users u ON u.id = j.user_id WHERE m.source IS NOT NULL"
    )
    for user_id, source, text in rows:
        if str(user_id) in by_id:
            texts.setdefault(str(user_id), []).append((str(source), str(text)))
    called = {
        str(row[0])
        for row in stack.rows(
            "SELECT u.external_id FROM mcp_call_logs l JOIN journeys j ON j.id = l.journey_id JOIN users u ON u.id = j.user_id "
            "WHERE l.success AND l.tool_name = 'get_user_profile'"
        )
    }
    names = {one.username for one in customers}
    written = {user_id: text for user_id, found in texts.items() for source, text in found if source == "agent"}
    with_facts = {user_id for user_id, text in written.items() if all(fact in text for fact in by_id[user_id].facts)}
    foreign = sum(
        any(name in text for name in names - {by_id[user_id].username})
        for user_id, found in texts.items()
        for _, text in found
    )
    ids = ", ".join(f"'{user_id}'" for user_id in by_id)
    ((by_agent, by_template, slowest, late),) = stack.rows(
        "SELECT count(*) FILTER (WHERE greeted_by = 'agent'), count(*) FILTER (WHERE greeted_by = 'template'), "
        "max(extract(epoch FROM greeted_at - accepted_at))::float8, count(*) FILTER (WHERE greeted_at - accepted_at > interval '3 s') "
        f"FROM journeys j JOIN users u ON u.id = j.user_id WHERE u.external_id IN ({ids})"
    )
    return Personal(
        customers=len(customers),
        by_agent=int(str(by_agent)),
        by_template=int(str(by_template)),
        proved=len(with_facts & called),
        without_call=len(written.keys() - called),
        without_facts=len(written.keys() - with_facts),
        foreign=foreign,
        slowest_seconds=float(str(slowest)),
        late=int(str(late)),
        calls_failed=int(str(stack.scalar("SELECT count(*) FROM mcp_call_logs WHERE NOT success"))),
    )
