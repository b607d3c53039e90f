"""How much is measured: the whole benchmark, and the short one of `--quick`."""

from dataclasses import dataclass

CONNECTIONS = 32
# Nothing an engine still has to do after this long counts as sustained.
DRAIN_SECONDS = 60.0
CONSULTANTS = 5
SET_SIZE = 50


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Registrations on an even clock, whatever the answers do."""

    per_second: int
    seconds: int
    agent_ms: int

    @property
    def name(self) -> str:
        return f"{self.per_second}/s, agent {self.agent_ms} ms"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Each contestant is started `passes` times, taking turns, and measured `rounds` times while it runs."""

    passes: int
    rounds: int
    warm_up: int
    burst: int
    peer_burst: int
    bare: int
    sets: int
    open_loops: tuple[OpenLoop, ...]
    peer_open_loops: tuple[OpenLoop, ...]
    bare_open_loops: tuple[OpenLoop, ...]


FULL = Sizes(
    passes=3,
    rounds=1,
    warm_up=300,
    burst=3000,
    peer_burst=1500,
    bare=2000,
    sets=20_000,
    open_loops=tuple(OpenLoop(rate, 8, agent) for agent in (0, 1000) for rate in (50, 100, 300)),
    peer_open_loops=(OpenLoop(50, 8, 0), OpenLoop(100, 8, 0), OpenLoop(50, 8, 1000), OpenLoop(100, 8, 1000)),
    bare_open_loops=(OpenLoop(100, 8, 0), OpenLoop(300, 8, 0)),
)

QUICK = Sizes(
    passes=1,
    rounds=3,
    warm_up=100,
    burst=600,
    peer_burst=200,
    bare=400,
    sets=4000,
    open_loops=(OpenLoop(100, 3, 0), OpenLoop(100, 2, 1000)),
    peer_open_loops=(OpenLoop(50, 2, 0),),
    bare_open_loops=(OpenLoop(300, 2, 0),),
)
