"""`anmei demo`: a stack of its own, real registrations through the signed webhook, and what became of them."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from core.database import dispose, unit_of_work
from queries.progress import Progress, read_progress
from simulators.signup import SignupService, registrations
from worker import embedded
from worker.embedded.accounts import is_root
from worker.launcher.demo_consultants import DemoConsultants
from worker.launcher.demo_screen import End, Screen, show_end
from worker.launcher.errors import AlreadyRunningError, LaunchError
from worker.launcher.files import DataDirectoryLock
from worker.launcher.stack import DEMO_PREFIX, Stack, bootstrap, remove_old_demos
from worker.launcher.up import StopRequest

POLL_SECONDS = 0.25
# For the first half of the registrations; then they leave, and everybody is told by push.
AT_THEIR_DESKS = ("lin", "chen")
# A welcome may take its whole deadline, and a machine may be busy; what takes longer than this has gone wrong.
PATIENCE_SECONDS = 60.0
PATIENCE_PER_JOURNEY_SECONDS = 0.5
# The slowest welcome, and then some.
TOLD_SECONDS = 20
FINISHED = ("succeeded", "failed", "skipped", "cancelled")


class LogFile:
    """A Console that writes children's lines to a file and the launcher's own to the screen."""

    def __init__(self, path: Path, screen: Screen) -> None:
        self._file = path.open("w")
        self._screen = screen

    def say(self, text: str) -> None:
        self._screen.say(text)
        self._file.write(text + "\n")

    def child_line(self, label: str, line: str) -> None:
        self._file.write(f"{label:<15} | {line}\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


async def run_demo(count: int) -> bool:
    """Run the demo; return whether every journey succeeded. Leaves no process and no data behind, only demo.log."""
    home = bootstrap().data_dir
    directory = _make_directory(home)
    screen = Screen(sys.stdout)
    console = LogFile(home / "demo.log", screen)
    lock = DataDirectoryLock(home)
    # While nothing else runs there, run.json in the user's own directory describes the demo.
    run_files = [home / "run.json"] if _try_lock(lock) else []
    stack = Stack(bootstrap(directory, embedded_only=True), console, run_files)
    stop = StopRequest(stack.hurry)
    demo = _Demo(stack, screen, count)
    try:
        done = await stop.or_done(demo.run())
        if not done:
            screen.say("stopping")
        return done and demo.succeeded
    except LaunchError as error:
        raise LaunchError(f"{error}\n(everything the processes said is in {home / 'demo.log'})") from error
    finally:
        await asyncio.to_thread(dispose)
        await stack.stop()
        lock.release()
        shutil.rmtree(directory, ignore_errors=True)
        console.close()


def _make_directory(home: Path) -> Path:
    embedded.prepare_data_directory(home)
    remove_old_demos(home)
    directory = Path(tempfile.mkdtemp(prefix=DEMO_PREFIX, dir=home))
    # Made private; PostgreSQL's own account has to pass where root hands it over.
    if is_root():
        directory.chmod(0o711)
    return directory


class _Demo:
    def __init__(self, stack: Stack, screen: Screen, count: int) -> None:
        self._stack = stack
        self._screen = screen
        self._count = count
        self._refused: list[str] = []
        self._answered = 0
        self.succeeded = False

    async def run(self) -> None:
        started = time.monotonic()
        await self._stack.start()
        passwords = self._stack.seeded.passwords
        self.consultants = DemoConsultants(self._stack.ports.api_url, passwords, AT_THEIR_DESKS)
        self._screen.say(f"everything is up after {time.monotonic() - started:.1f} s: {self._stack.ports.api_url}/docs")
        self._screen.say(f"sending {self._count} signed registrations to {self._webhook}")
        self._screen.say(f"{' and '.join(AT_THEIR_DESKS)} are at their desks for the first half, nobody for the second")
        sending = asyncio.create_task(self._send())
        try:
            progress = await self._watch(sending)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        self.succeeded = progress.journeys.get("succeeded", 0) == self._count and not self._refused
        end = End(self._count, self._refused, dict(self.consultants.told))
        await asyncio.to_thread(show_end, self._screen, progress, self._stack.ports, end)

    @property
    def _webhook(self) -> str:
        return f"{self._stack.ports.api_url}/hooks/registrations"

    async def _send(self) -> None:
        secret = self._stack.seeded.webhook_secret.get_secret_value()
        people = list(registrations(self._count))
        first, second = people[: self._count // 2], people[self._count // 2 :]
        async with SignupService(self._webhook, secret) as service:
            async with self.consultants:
                await self._send_all(service, first)
                await self._until_told(len(first))
            await self._send_all(service, second)

    async def _send_all(self, service: SignupService, people: list[dict[str, Any]]) -> None:
        async for answer in service.send_all(people):
            self._answered += 1
            if not answer.accepted:
                self._refused.append(answer.error or f"{answer.status}: {str(answer.body)[:200]}")

    async def _until_told(self, count: int) -> None:
        """Return when the consultants at their desks heard of so many customers; say so when they do not."""
        everybody = asyncio.gather(*(self.consultants.heard_of(name, count) for name in AT_THEIR_DESKS))
        try:
            await asyncio.wait_for(everybody, TOLD_SECONDS)
        except TimeoutError:
            heard = ", ".join(f"{name} {self.consultants.told[name]}" for name in AT_THEIR_DESKS)
            self._screen.say(f"the sockets told less than the {count} new customers within {TOLD_SECONDS} s: {heard}")

    async def _watch(self, sending: asyncio.Task[None]) -> Progress:
        """Show the progress until every journey has ended or patience has; return the last of it."""
        deadline = time.monotonic() + PATIENCE_SECONDS + self._count * PATIENCE_PER_JOURNEY_SECONDS
        with self._screen.live():
            while True:
                progress = await asyncio.to_thread(_read)
                self._screen.show(progress, self._answered, self._count)
                if sending.done():
                    sending.result()
                    if _all_ended(progress, self._answered - len(self._refused)):
                        return progress
                if time.monotonic() > deadline:
                    self._screen.say("giving up: some journeys have not ended in time; `demo.log` says what happened")
                    return progress
                await asyncio.sleep(POLL_SECONDS)


def _read() -> Progress:
    with unit_of_work() as session:
        return read_progress(session)


def _all_ended(progress: Progress, accepted: int) -> bool:
    ended = sum(progress.journeys.get(status, 0) for status in FINISHED)
    waiting = sum(count for (_, status), count in progress.notifications.items() if status == "pending")
    return ended >= accepted and waiting == 0


def _try_lock(lock: DataDirectoryLock) -> bool:
    try:
        lock.acquire()
    except AlreadyRunningError:
        return False
    return True
