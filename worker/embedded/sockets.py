"""The private directory of one run's unix sockets: short, whatever the data directory's path."""

import os
import shutil
import tempfile
from pathlib import Path

from worker.embedded.errors import EmbeddedServerError
from worker.processes import Account

# sockaddr_un.sun_path holds 108 bytes with the closing zero; PostgreSQL's longest name here is its lock file's.
PATH_BYTES = 107
_LONGEST_NAME = "/anmei-12345678/postgres/.s.PGSQL.5432.lock"


def make_socket_directory() -> Path:
    """Create a directory only we may look into; raise EmbeddedServerError where no short place is writable."""
    # The short ones first: TMPDIR may be anything, also a directory that PostgreSQL's account may not pass.
    for base in (os.path.join(os.sep, "tmp"), tempfile.gettempdir(), os.path.join(os.sep, "run")):
        if len(os.fsencode(base + _LONGEST_NAME)) <= PATH_BYTES and os.access(base, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="anmei-", dir=base))
    raise EmbeddedServerError("no writable directory with a short path for unix sockets: make /tmp writable")


def give_directory(parent: Path, name: str, account: Account | None) -> Path:
    """Create a subdirectory for one server's socket, owned by the account it runs under."""
    directory = parent / name
    directory.mkdir(mode=0o700)
    if account is not None:
        os.chown(directory, account.uid, account.gid)
        # The account must pass through; it still cannot list, and nobody else can enter what lies below.
        parent.chmod(0o711)
    return directory


def remove_socket_directory(directory: Path) -> None:
    """Remove the directory with whatever a killed server left in it. Removing it twice is fine."""
    if directory.name.startswith("anmei-"):
        shutil.rmtree(directory, ignore_errors=True)
