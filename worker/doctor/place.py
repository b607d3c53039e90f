"""The doctor's look at the machine: Python, the data directory and its disk, the secret key, and whether a start would work."""

import shutil
import sys
from collections.abc import Iterator

from core.settings import Settings
from worker import embedded
from worker.doctor.findings import Finding, note, ok, wrong
from worker.embedded import EmbeddedServerError
from worker.launcher.errors import LaunchError
from worker.launcher.ports import is_free

LEAST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 1 << 30


def examine_place(settings: Settings) -> Iterator[Finding]:
    yield _python()
    yield from _data_dir(settings)
    yield _secret_key(settings)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return wrong("python", version, "install Python 3.11 or newer and remove .venv")
    return ok("python", version)


def _data_dir(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir.absolute()
    try:
        embedded.prepare_data_directory(path)
        probe = path / ".doctor"
        # A full disk lets a file be made, and fails when something is to be in it.
        probe.write_bytes(bytes(4096))
        probe.unlink()
    except OSError as error:
        remedy = "give the directory to this user, or free its disk; or set ANMEI_DATA_DIR to another one"
        yield wrong("data directory", f"{path}: {error.strerror}", remedy)
        return
    yield ok("data directory", str(path))
    free = shutil.disk_usage(path).free
    if free < LEAST_FREE_BYTES:
        remedy = "free some space, or set ANMEI_DATA_DIR to another disk"
        yield wrong("disk", f"{free / 2**20:.0f} MiB free", remedy)
    else:
        yield ok("disk", f"{free / 2**30:.0f} GiB free")


def _secret_key(settings: Settings) -> Finding:
    if settings.secret_key is not None:
        return ok("secret key", "from ANMEI_SECRET_KEY")
    path = settings.data_dir / "secret.key"
    if path.exists():
        return ok("secret key", f"from {path}")
    return note("secret key", "none yet: the first start makes one in the data directory")


def examine_start(settings: Settings) -> Iterator[Finding]:
    """Tell whether a start would work, where nothing runs."""
    from worker.embedded import accounts, postgres
    from worker.embedded import redis as embedded_redis

    yield note("stack", "none is running here", "start one with `anmei up`")
    cluster = settings.data_dir.absolute() / "postgres"
    for name, look in (
        ("embedded postgres", lambda: accounts.postgres_account(cluster, [cluster, postgres.binaries()])),
        ("embedded redis", embedded_redis.binary),
    ):
        try:
            look()
        except EmbeddedServerError as error:
            yield wrong(name, "cannot be started", str(error))
        else:
            yield ok(name, "can be started")
    ports = {"api": settings.api_port, "mcp": settings.mcp_port}
    ports |= {"flower": settings.flower_port, "metrics": settings.metrics_port}
    for name, port in ports.items():
        yield _free_port(settings, name, port)


def _free_port(settings: Settings, name: str, port: int) -> Finding:
    try:
        free = is_free(settings.bind, port)
    except LaunchError as error:
        return wrong(f"port {name}", str(port), str(error))
    if free:
        return ok(f"port {name}", f"{port} is free")
    return note(f"port {name}", f"{port} is taken: `anmei up` would take the next free one")
