"""How this process signs the attempts it makes."""

import os
import socket


def worker_name() -> str:
    """Return host and process id: enough to find the process that made an attempt."""
    return f"{socket.gethostname()}:{os.getpid()}"
