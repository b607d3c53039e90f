"""``python -m worker.alive``: whether a worker on this host said within the last seconds that it is there. For probes.

A worker has no port to ask. Its heartbeat comes from its main process, so a host that beats has one that runs; whether it still
consumes is the watchdog's business.
"""

import socket
import sys

from core.errors import DatabaseUnavailableError
from services import heartbeats


def main() -> int:
    """Return 0 when a worker of this host is alive; 1 with the reason on stderr when not.

    A database that is away says nothing about the worker, and restarting it would not help: 0.
    """
    host = socket.gethostname()
    try:
        alive = [worker for worker in heartbeats.list_alive() if worker.host == host]
    except DatabaseUnavailableError as error:
        sys.stderr.write(f"cannot tell: {error.message}\n")
        return 0
    if not alive:
        sys.stderr.write(f"no worker on {host} has been heard of for {heartbeats.ALIVE_SECONDS:g} s\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
