"""The faults: each a name, what is armed or started differently, and what is done while registrations come in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from tests.faults.stack import Stack

Injection = Callable[[Stack, Event], None]


def every(seconds: float, *deeds: Callable[[Stack], object]) -> Injection:
    """Do the deeds in turn, one every so many seconds, until the load is over."""

    def inject(stack: Stack, over: Event) -> None:
        turn = 0
        while not over.wait(seconds):
            deeds[turn % len(deeds)](stack)
            turn += 1

    return inject


def for_a_while(begin: Callable[[Stack], object], end: Callable[[Stack], object], *, seconds: float) -> Injection:
    """Begin soon after the load, end some seconds later or with the load."""

    def inject(stack: Stack, over: Event) -> None:
        over.wait(0.5)
        begin(stack)
        over.wait(seconds)
        end(stack)

    return inject


def nothing(stack: Stack, over: Event) -> None:
    """What is armed in the processes is the fault."""
    over.wait()


@dataclass(frozen=True)
class Case:
    """One fault. `agent_healthy`: agent calls are held to 1.02 for each journey; kills between call and record excepted."""

    name: str
    inject: Injection = nothing
    faults: dict[str, str] = field(default_factory=dict)
    environment: dict[str, dict[str, str]] = field(default_factory=dict)
    agent_arguments: tuple[str, ...] = ("--latency-scale", "0", "--no-mcp")
    agent_healthy: bool = True
    # Only with this broker; both where there is none named.
    broker: str | None = None
    # Part of the short form that runs with the tests.
    short: bool = False


def _role(name: str, deed: str) -> Callable[[Stack], object]:
    return lambda stack: getattr(stack.supervisor.roles[name], deed)()


def _kill_leader(stack: Stack) -> None:
    """Kill the sweeper that holds the advisory lock: the one whose log says so last."""
    leaders = [name for name in ("beat1", "beat2") if "leader_elected" in (stack.folder / f"{name}.log").read_text()]
    stack.supervisor.roles[leaders[-1] if leaders else "beat1"].kill_all()


def _broker_away(stack: Stack) -> None:
    stack.broker.kill()


def _agent_down(stack: Stack) -> None:
    stack.supervisor.hold("agent")


def _agent_up(stack: Stack) -> None:
    stack.supervisor.let_up("agent")


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
SKEWED = {"LD_PRELOAD": FAKETIME, "FAKETIME": "+90s", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
SLOW_AGENT = ("--fixed-latency-ms", "600", "--no-mcp")

CASES: tuple[Case, ...] = (
    Case("nothing"),
    Case("pool children killed", every(0.4, _role("worker", "kill_a_child")), short=True),
    Case("whole workers killed", every(2.0, _role("worker", "kill_all"), _role("agents", "kill_all"))),
    Case("workers' main process killed", every(2.5, _role("worker", "kill_main"))),
    Case("sweep's leader killed", every(1.5, _kill_leader)),
    Case("API killed between commit and publish", faults={"api": "before_publish_api=kill:0.01"}, short=True),
    Case("worker killed after claim", faults={"agents": "after_claim=kill:0.03"}),
    Case("worker killed after the agent answered", faults={"agents": "after_call=kill:0.02"}, agent_healthy=False),
    Case("worker killed before commit", faults={"worker": "before_commit=kill:0.03"}),
    Case("worker killed after commit", faults={"worker": "after_commit=kill:0.03", "agents": "after_commit=kill:0.01"}),
    Case("disk full on write", faults={"worker": "before_commit=full:0.05"}),
    Case("broker emptied", every(0.9, lambda stack: stack.broker.empty()), short=True),
    Case("broker killed", every(3.0, lambda stack: (stack.broker.kill(), stack.broker.start()))),
    Case(
        "Redis killed, append-only file", every(3.0, lambda s: (s.broker.kill(), s.broker.start())), broker="redis-aof"
    ),
    Case("broker away for a while", for_a_while(_broker_away, lambda stack: stack.broker.start(), seconds=5)),
    Case("PostgreSQL restarted", every(3.0, Stack.restart_postgres), short=True),
    Case("PostgreSQL killed", every(3.0, Stack.kill_postgres)),
    Case("agent down", for_a_while(_agent_down, _agent_up, seconds=4), agent_healthy=False),
    Case(
        "agent hung",
        for_a_while(lambda s: s.agent_fault("silence", count=100), Stack.clear_agent_faults, seconds=4),
        agent_healthy=False,
    ),
    Case("agent slow", agent_arguments=("--fixed-latency-ms", "2500", "--no-mcp")),
    Case("one worker's clock 90 s ahead", environment={"agents": SKEWED, "beat1": SKEWED}),
    Case(
        "rolling restart",
        every(2.5, *[lambda s, n=n: s.supervisor.restart_softly(n) for n in ("agents", "worker", "api")]),
    ),
    Case(
        "all at once",
        every(
            0.7,
            _role("worker", "kill_a_child"),
            lambda stack: stack.broker.empty(),
            _role("agents", "kill_all"),
            _kill_leader,
            _role("worker", "kill_all"),
            Stack.restart_postgres,
        ),
        faults={"api": "before_publish_api=kill:0.002", "worker": "before_commit=full:0.01"},
        agent_healthy=False,
    ),
)
