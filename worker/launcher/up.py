"""`anmei up`: a stack that stays until it is told to stop."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

from core import memory
from core.settings import Settings
from worker.launcher import seeding
from worker.launcher.console import Console
from worker.launcher.stack import Stack

# One Ctrl-C or one `kill` may arrive twice, from the terminal and through make, say.
SAME_REQUEST_SECONDS = 1.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """SIGINT, SIGTERM and SIGHUP as an event; whoever asks a second time no longer wants to wait."""

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._asked = asyncio.Event()
        self._asked_at = 0.0
        self._hurry = hurry
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._ask)

    def _ask(self) -> None:
        now = time.monotonic()
        if not self._asked.is_set():
            self._asked_at = now
            self._asked.set()
        elif now - self._asked_at > SAME_REQUEST_SECONDS:
            self._hurry()

    async def wait(self) -> None:
        await self._asked.wait()

    async def or_done(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run the work, given up when a stop is asked for; return whether it was done. Raises what it raises."""
        task = asyncio.create_task(work)
        asked = asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return False
            task.result()
            return True
        finally:
            asked.cancel()
            task.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)


async def run_up(settings: Settings, console: Console) -> None:
    """Start the stack and keep it until a signal; raise LaunchError when it does not come up. Stops it in every case."""
    stack = Stack(settings, console)
    stop = StopRequest(stack.hurry)
    try:
        if await stop.or_done(stack.start()):
            welcome(stack, console)
            memory.settle()
            await stop.wait()
        console.say("stopping (again to stop at once)")
    finally:
        await stack.stop()
    console.say("stopped")


def welcome(stack: Stack, console: Console) -> None:
    """Say what is where, and the passwords made by this start: they are shown once."""
    ports = stack.ports
    console.say(
        f"""everything is up
  API        {ports.api_url}   (documentation at /docs)
  MCP        {ports.mcp_url}
  Flower     {ports.flower_url}   (user {seeding.ADMIN})
  metrics    {"  ".join(ports.metrics_urls)}
  described  {stack.settings.run_file}"""
    )
    for name, password in stack.seeded.new_passwords.items():
        console.say(f"  password of {name}, shown this once: {password.get_secret_value()}")
    console.say("Ctrl-C stops everything; `anmei register` sends a test registration")
