"""The processes of one stack together: started in order, reported when one changes, stopped in stages."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence

from worker.launcher.child import Child
from worker.launcher.console import Console
from worker.launcher.roles import Role

# A stop takes at most 15 s: workers first, while all they talk to is still there; the servers last.
WORKERS_SOFT_SECONDS = 7.5
WORKERS_FIRM_SECONDS = 1.5
SHELLS_BY_SECONDS = 11.0
SERVERS_BY_SECONDS = 14.0
# Whatever came before, each stage gets this long to stop by itself.
LEAST_SOFT_SECONDS = 1.0

WORKER = "worker"
SERVERS = ("postgres", "redis")


class Supervisor:
    """Owns the children. Everything happens on the event loop's thread, which must be the process's main thread."""

    def __init__(self, console: Console, changed: Callable[[], None]) -> None:
        self._console = console
        self._changed = changed
        self.children: list[Child] = []

    def start(self, role: Role) -> Child:
        """Start a process and keep it running."""
        child = Child(role, self._console, self._changed)
        self.children.append(child)
        child.start()
        return child

    async def start_and_wait(self, roles: Sequence[Role], *, timeout_seconds: float) -> None:
        """Start these together and return when all serve; raise LaunchError for the first that does not."""
        children = [self.start(role) for role in roles]
        waits = [asyncio.create_task(child.wait_until_ready(timeout_seconds)) for child in children]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()

    def running(self) -> list[tuple[str, int]]:
        """Return role and pid of every process there is now, in the order they were started."""
        return [(child.role.name, child.pid) for child in self.children if child.pid is not None]

    async def stop(self) -> None:
        """Stop everything within 15 s: workers finish what they do, then the shells, then the servers."""
        started = time.monotonic()

        def left_until(seconds: float) -> float:
            return max(LEAST_SOFT_SECONDS, seconds - (time.monotonic() - started))

        workers, shells, servers = self._stages()
        await asyncio.gather(
            *(
                child.stop(
                    soft_seconds=WORKERS_SOFT_SECONDS,
                    # Celery gives the tasks it holds back to the broker.
                    firm_signal=signal.SIGQUIT,
                    firm_seconds=WORKERS_FIRM_SECONDS,
                )
                for child in workers
            )
        )
        await asyncio.gather(*(child.stop(soft_seconds=left_until(SHELLS_BY_SECONDS)) for child in shells))
        await asyncio.gather(*(child.stop(soft_seconds=left_until(SERVERS_BY_SECONDS)) for child in servers))

    def hurry(self) -> None:
        """Kill whatever of ours still runs, the servers excepted: they close within moments by themselves."""
        workers, shells, _ = self._stages()
        for child in [*workers, *shells]:
            child.kill()

    def _stages(self) -> tuple[list[Child], list[Child], list[Child]]:
        workers = [child for child in self.children if child.role.name == WORKER]
        servers = [child for child in self.children if child.role.name in SERVERS]
        return workers, [child for child in self.children if child not in workers + servers], servers
