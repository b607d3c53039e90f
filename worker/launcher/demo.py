"""`anmei demo`: a stack of its own, real registrations through the signed webhook, and what became of them."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from core.database import dispose, unit_of_work
from queries.progress import Progress, read_progress
from simulators.signup import SignupService, registrations
from worker import embedded
from worker.embedded.accounts import is_root
from worker.launcher.demo_screen import Screen, show_end
from worker.launcher.errors import AlreadyRunningError, LaunchError
from worker.launcher.files import DataDirectoryLock
from worker.launcher.stack import DEMO_PREFIX, Stack, bootstrap, remove_old_demos
from worker.launcher.up import StopRequest

POLL_SECONDS = 0.25
# A welcome may take its whole deadline, and a machine may be busy; what takes longer than this has gone wrong.
PATIENCE_SECONDS = 60.0
PATIENCE_PER_JOURNEY_SECONDS = 0.5
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
        self._screen.say(f"everything is up after {time.monotonic() - started:.1f} s: {self._stack.ports.api_url}/docs")
        self._screen.say(f"sending {self._count} signed registrations to {self._webhook}")
        sending = asyncio.create_task(self._send())
        try:
            progress = await self._watch(sending)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        self.succeeded = progress.journeys.get("succeeded", 0) == self._count and not self._refused
        await asyncio.to_thread(show_end, self._screen, progress, self._stack, self._count, self._refused)

    @property
    def _webhook(self) -> str:
        return f"{self._stack.ports.api_url}/hooks/registrations"

    async def _send(self) -> None:
        secret = self._stack.seeded.webhook_secret.get_secret_value()
        async with SignupService(self._webhook, secret) as service:
            async for answer in service.send_all(registrations(self._count)):
                self._answered += 1
                if not answer.accepted:
                    self._refused.append(answer.error or f"{answer.status}: {str(answer.body)[:200]}")

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
