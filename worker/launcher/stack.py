"""A whole stack: servers, schema, seed, processes; what it tells the world in run.json; and its orderly end."""

import asyncio
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from core.errors import AnmeiError
from core.logging import configure_logging
from core.settings import Settings, get_settings
from worker import embedded
from worker.launcher import seeding
from worker.launcher.console import Console
from worker.launcher.errors import AlreadyRunningError, LaunchError
from worker.launcher.files import DataDirectoryLock, Ledger, write_private
from worker.launcher.plan import Plan, Ports, choose_ports
from worker.launcher.ports import PortChooser
from worker.launcher.roles import server_role
from worker.launcher.supervisor import Supervisor

# Everything together; a small shared machine needs a few seconds.
READY_TIMEOUT_SECONDS = 90
DEMO_PREFIX = "demo-"


@dataclass
class Stack:
    """One stack in one data directory. Use `start` and, whatever that did, `stop`; on the main thread's event loop."""

    settings: Settings
    console: Console
    # Where else run.json is wanted: the demo describes itself in the directory the user named, too.
    run_files: list[Path] = field(default_factory=list)
    ports: Ports = field(init=False)
    seeded: seeding.Seeded = field(init=False)

    def __post_init__(self) -> None:
        self._supervisor = Supervisor(self.console, self._changed)
        self._lock = DataDirectoryLock(self.settings.data_dir)
        self._port_chooser = PortChooser(self.settings.bind, self.console.say)
        self._ledger = Ledger(self.settings.data_dir)
        self._sockets: Path | None = None
        self._described: dict[str, Any] = {}
        self._locked = False

    async def start(self) -> None:
        """Bring everything up and describe it in run.json; raise LaunchError with a remedy."""
        with explained():
            embedded.prepare_data_directory(self.settings.data_dir)
            self._lock.acquire()
            self._locked = True
            await self._clean_up()
            self.ports = choose_ports(self.settings, self._port_chooser)
            await self._start_servers()
            self.seeded = await self._seed()
            await self._start_processes()
        self._describe()

    async def stop(self) -> None:
        """Stop everything within 15 s and leave nothing behind. Safe at any point of `start`, and twice."""
        await self._supervisor.stop()
        self._port_chooser.release()
        for path in self._run_files():
            path.unlink(missing_ok=True)
        if self._sockets is not None:
            embedded.remove_socket_directory(self._sockets)
        if self._locked:
            self._ledger.remove()
            self._lock.release()
            self._locked = False

    def hurry(self) -> None:
        """Stop waiting for what is still being stopped."""
        self._supervisor.hurry()

    async def _clean_up(self) -> None:
        ended = await asyncio.to_thread(self._ledger.clean_up)
        if ended:
            self.console.say(f"ended {ended} processes that an earlier run left behind")
        await asyncio.to_thread(remove_old_demos, self.settings.data_dir)

    async def _start_servers(self) -> None:
        settings = self.settings
        wanted = {"with_postgres": settings.database_url is None, "with_redis": settings.broker_url is None}
        if not any(wanted.values()):
            return
        self.console.say(f"starting embedded servers in {settings.data_dir}")
        # Ours before anything is put there, so that a stop in the middle removes it.
        self._sockets = embedded.make_socket_directory()
        self._ledger.own_sockets(self._sockets)
        servers = await asyncio.to_thread(embedded.prepare, settings.data_dir, **wanted, socket_directory=self._sockets)
        roles = [server_role(server) for server in servers.servers]
        await self._supervisor.start_and_wait(roles, timeout_seconds=READY_TIMEOUT_SECONDS)
        await asyncio.to_thread(servers.create_database)
        # From here on this process and its children find them as they would find any server.
        settings.database_url = settings.database_url or servers.database_url
        settings.broker_url = settings.broker_url or servers.broker_url

    async def _seed(self) -> seeding.Seeded:
        import migrations

        await asyncio.to_thread(migrations.upgrade)
        return await asyncio.to_thread(
            seeding.seed,
            self.settings.data_dir,
            agent_url=f"{self.ports.agent_simulator_url}/v1",
            push_url=self.ports.push_simulator_url,
        )

    async def _start_processes(self) -> None:
        plan = Plan(
            settings=self.settings, ports=self.ports, agent_key=self.seeded.agent_key, mcp_key=self.seeded.mcp_key
        )
        roles = [*plan.simulators(), *plan.product()]
        self.console.say(f"starting {', '.join(role.label for role in roles)}")
        await self._supervisor.start_and_wait(roles, timeout_seconds=READY_TIMEOUT_SECONDS)

    def _describe(self) -> None:
        self._described = {
            "api_url": self.ports.api_url,
            "mcp_url": self.ports.mcp_url,
            "flower_url": self.ports.flower_url,
            "metrics_urls": self.ports.metrics_urls,
            "agent_simulator_url": self.ports.agent_simulator_url,
            "push_simulator_url": self.ports.push_simulator_url,
            "database_url": self.settings.database_url,
            "broker_url": self.settings.broker_url,
            "webhook_secret": self.seeded.webhook_secret.get_secret_value(),
            "admin": {"username": seeding.ADMIN, "password": _shown(self.seeded.passwords.get(seeding.ADMIN))},
            "consultants": [
                {"username": name, "password": _shown(self.seeded.passwords.get(name))} for name in seeding.CONSULTANTS
            ],
        }
        self._changed()

    def _changed(self) -> None:
        """Bring the ledger, and run.json once everything serves, up to date with the processes there are."""
        running = self._supervisor.running()
        self._ledger.write(pid for _, pid in running)
        if self._described:
            processes = [{"role": role, "pid": pid} for role, pid in running]
            for path in self._run_files():
                write_private(path, self._described | {"processes": processes})

    def _run_files(self) -> list[Path]:
        return [self.settings.run_file, *self.run_files] if self._locked else []


def remove_old_demos(data_dir: Path) -> None:
    """Clean up after demos of this data directory that were killed; one that still runs is left alone."""
    for directory in data_dir.glob(DEMO_PREFIX + "*/"):
        lock = DataDirectoryLock(directory)
        try:
            lock.acquire()
        except AlreadyRunningError:
            continue
        Ledger(directory).clean_up()
        shutil.rmtree(directory, ignore_errors=True)
        lock.release()


def bootstrap(data_dir: Path | None = None, *, embedded_only: bool = False) -> Settings:
    """Return this process's settings prepared for a stack: an absolute data directory, and its own if one is given."""
    settings = get_settings()
    configure_logging("launcher")
    # On this console the launcher speaks for itself.
    logging.getLogger().setLevel(logging.WARNING)
    settings.data_dir = (data_dir or settings.data_dir).absolute()
    if embedded_only:
        settings.database_url = settings.broker_url = settings.redis_url = None
    return settings


@contextmanager
def explained() -> Iterator[None]:
    """Turn what may go wrong outside this program into a LaunchError a person can act on."""
    try:
        yield
    except embedded.EmbeddedServerError as error:
        raise LaunchError(str(error)) from error
    except DBAPIError as error:
        first_line = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        raise LaunchError(
            f"the database refuses: {first_line} (ANMEI_DATABASE_URL; `anmei doctor` says more)"
        ) from error
    except AnmeiError as error:
        raise LaunchError(f"{error.message} (`anmei doctor` says more)") from error
    except PermissionError as error:
        raise LaunchError(
            f"{error.filename} is not writable: choose another ANMEI_DATA_DIR, or give it to this user"
        ) from error
    except OSError as error:
        raise LaunchError(f"{error.filename or 'the system'}: {error.strerror}") from error


def _shown(password: SecretStr | None) -> str | None:
    return password.get_secret_value() if password is not None else None
