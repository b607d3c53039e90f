"""One supervised process: started, watched, started again with growing distance when it dies, stopped on request."""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import IO

from worker.launcher.console import Console
from worker.launcher.errors import LaunchError
from worker.launcher.roles import READY_LINE, Role
from worker.processes import kill_tree, tied

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 10.0
# Whoever served this long starts again with the first backoff.
HEALTHY_SECONDS = 30.0
# A process that dies this often before it ever served will not serve by itself.
MOST_FAILED_STARTS = 3
_PROBE_INTERVAL_SECONDS = 0.1
_LAST_LINES = 20
# Lines may be long (a JSON traceback), not endless.
_LINE_LIMIT_BYTES = 1 << 20


class Child:
    """Keeps one role running until told to stop."""

    def __init__(self, role: Role, console: Console, changed: Callable[[], None]) -> None:
        self.role = role
        self.restarts = 0
        self._console = console
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._ready = asyncio.Event()
        self._gave_up = asyncio.Event()
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The pid while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=f"child {self.role.label}")

    async def wait_until_ready(self, timeout_seconds: float) -> None:
        """Return once it serves; raise LaunchError with its last words when it keeps dying or takes too long."""
        waits = [asyncio.create_task(event.wait()) for event in (self._ready, self._gave_up)]
        try:
            await asyncio.wait(waits, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._gave_up.is_set():
            raise LaunchError(f"{self.role.label} does not start; its last words:\n{self._last_words()}")
        if not self._ready.is_set():
            raise LaunchError(
                f"{self.role.label} was not ready within {timeout_seconds:.0f} s; its last words:\n{self._last_words()}"
            )

    async def stop(
        self, *, soft_seconds: float, firm_signal: signal.Signals | None = None, firm_seconds: float = 0
    ) -> None:
        """Ask it to stop; ask firmly after `soft_seconds`; kill its whole family after `firm_seconds` more."""
        self._stopping = True
        pid = self.pid
        if pid is not None:
            _send(pid, self.role.stop_signal)
            if not await self._ended(soft_seconds) and firm_signal is not None:
                _send(pid, firm_signal)
                await self._ended(firm_seconds)
            # Also what it left behind: its session holds every process it started that is still there.
            if self.pid is not None:
                kill_tree(pid)
            _kill_group(pid)
            await self._ended(2.0)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def kill(self) -> None:
        """Kill its whole family at once, and do not start it again."""
        self._stopping = True
        if self.pid is not None:
            kill_tree(self.pid)

    async def _ended(self, seconds: float) -> bool:
        process = self._process
        if process is None:
            return True
        try:
            await asyncio.wait_for(process.wait(), max(seconds, 0.05))
        except TimeoutError:
            return False
        return True

    async def _keep_running(self) -> None:
        backoff, failed_starts = FIRST_BACKOFF_SECONDS, 0
        while not self._stopping:
            started = time.monotonic()
            was_ready = await self._run_once()
            if self._stopping:
                return
            failed_starts = 0 if was_ready else failed_starts + 1
            if failed_starts >= MOST_FAILED_STARTS and not self._ready.is_set():
                self._gave_up.set()
            if time.monotonic() - started > HEALTHY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            self._console.say(f"{self.role.label} ended ({self._ending()}); starting it again in {backoff:.1f} s")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            self.restarts += 1

    async def _run_once(self) -> bool:
        """Run it until it ends; return whether it was ready in that time."""
        # A pipe of our own: waiting for a process with asyncio's pipes also waits for grandchildren that hold them.
        read_end, write_end = os.pipe()
        try:
            process = await self._spawn(write_end)
        finally:
            os.close(write_end)
        self._process = process
        self._changed()
        announced = asyncio.Event()
        pump = asyncio.create_task(self._pass_on(read_end, announced))
        ready = asyncio.create_task(self._watch_for_ready(announced))
        try:
            await process.wait()
            _kill_group(process.pid)
            await asyncio.wait([pump], timeout=1)
            return ready.done()
        finally:
            ready.cancel()
            pump.cancel()
            self._changed()

    async def _spawn(self, output: int) -> asyncio.subprocess.Process:
        log = self._open_log()
        try:
            return await asyncio.create_subprocess_exec(
                *tied(self.role.arguments, death_signal=self.role.death_signal, account=self.role.account),
                env=dict(self.role.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log or output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if log is not None:
                log.close()

    async def _watch_for_ready(self, announced: asyncio.Event) -> None:
        if self.role.probe is None:
            await announced.wait()
        else:
            while True:
                if await self.role.probe():
                    break
                await asyncio.sleep(_PROBE_INTERVAL_SECONDS)
        self._ready.set()

    async def _pass_on(self, read_end: int, announced: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        output = asyncio.StreamReader(limit=_LINE_LIMIT_BYTES)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb", 0)
        )
        try:
            while raw := await _line(output):
                line = raw.decode(errors="replace").rstrip()
                if line == READY_LINE:
                    announced.set()
                elif line:
                    self._last_lines.append(line)
                    self._console.child_line(self.role.label, line)
        finally:
            transport.close()

    def _open_log(self) -> IO[bytes] | None:
        if self.role.log_file is None:
            return None
        self.role.log_file.touch(mode=0o600)
        return self.role.log_file.open("ab")

    def _ending(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is not None and code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"

    def _last_words(self) -> str:
        if self.role.log_file is not None and self.role.log_file.exists():
            lines = self.role.log_file.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        else:
            lines = list(self._last_lines)
        return "\n".join(f"  {line}" for line in lines) or "  (none)"


async def _line(output: asyncio.StreamReader) -> bytes:
    """Return the next line, empty at the end; a line past the limit is dropped up to what was read of it."""
    while True:
        try:
            return await output.readline()
        except ValueError:
            continue


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_group(pid: int) -> None:
    """Kill what is left of the session that the (ended or ending) child led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
