"""Flower, run inside our own process: its credentials appear on no command line."""

import atexit
import base64
import logging
import os
import signal
import sys
from types import FrameType

from core import memory
from core.crypto import derive_key
from core.logging import configure_logging
from core.settings import get_settings
from worker.launcher.seeding import ADMIN, read_credentials

# Enough for an afternoon of looking; what is older is in the journeys' own record.
MOST_TASKS = 20_000
STATE_SAVE_INTERVAL_MS = 30_000
# Workers send events only while told to; one that starts is told within this time.
ENABLE_EVENTS_INTERVAL_MS = 1000
# A restarted worker has another name.
PURGE_OFFLINE_SECONDS = 300


def flower_passwords() -> list[str]:
    """Return what signs `admin` in: the first password of this data directory's administrator, and one from the secret key."""
    derived = base64.b32encode(derive_key("flower")[:15]).decode().lower()
    first = read_credentials(get_settings().data_dir).get(ADMIN)
    return [derived, *([first.get_secret_value()] if first else [])]


def serve_flower() -> None:
    """Serve until SIGTERM or SIGINT; the state is kept in the data directory."""
    from flower.app import Flower
    from flower.command import extract_settings, setup_logging
    from flower.events import Events
    from flower.options import options
    from flower.urls import settings as urls

    from worker.app import app

    settings = get_settings()
    # Its file of tasks is nobody else's to read.
    os.umask(0o077)
    configure_logging("flower")
    # It warns of every question that no worker answered in a second, as while everything starts.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    options.address = settings.bind
    options.port = settings.flower_port
    options.basic_auth = [f"{ADMIN}:{password}" for password in flower_passwords()]
    options.persistent = True
    options.db = str(settings.data_dir / "flower.db")
    options.state_save_interval = STATE_SAVE_INTERVAL_MS
    options.max_tasks = MOST_TASKS
    options.purge_offline_workers = PURGE_OFFLINE_SECONDS
    extract_settings()
    setup_logging()
    Events.events_enable_interval = ENABLE_EVENTS_INTERVAL_MS
    flower = Flower(capp=app, options=options, **urls)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    atexit.register(flower.stop)
    flower.start_http_server()
    memory.settle()
    flower.start()


def _leave(_: int, __: FrameType | None) -> None:
    sys.exit(0)
