"""The account PostgreSQL runs under: it refuses root, so root hands it to an unprivileged one."""

import os
import pwd
import re
from pathlib import Path

from worker.embedded.errors import EmbeddedServerError
from worker.processes import Account

# Numbers of capabilities(7).
CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SETPCAP = 8
_UNPRIVILEGED = ("nobody", "daemon")


def is_root() -> bool:
    return os.geteuid() == 0


def postgres_account(cluster: Path, needed: list[Path]) -> Account | None:
    """Return the account for a cluster directory, None for our own. `needed` are the paths it must reach.

    Below a directory only root may enter (/root, say) it keeps the one capability that lets it pass; raises
    EmbeddedServerError with a remedy where this process has none to give.
    """
    if not is_root():
        _require_named_user()
        return None
    uid, gid = _owner(cluster) or _unprivileged()
    _require_power_to_become(uid)
    blocked = next((path for path in needed for path in _blocked(path, uid, gid)), None)
    return Account(uid, gid, None if blocked is None else _capability(blocked, uid))


def _require_named_user() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EmbeddedServerError(
            f"PostgreSQL needs a named user, and uid {os.geteuid()} has no line in /etc/passwd: add one, "
            "run as a named user or root, or set ANMEI_DATABASE_URL"
        ) from None


def _require_power_to_become(uid: int) -> None:
    held = _held_capabilities()
    powerless = held is not None and not all(held & 1 << needed for needed in (CAP_CHOWN, CAP_SETGID, CAP_SETUID))
    if powerless or not _is_mapped(uid):
        raise EmbeddedServerError(
            f"PostgreSQL refuses to run as root, and this root may not become uid {uid} (a container without "
            "CAP_CHOWN, CAP_SETUID and CAP_SETGID?): start as an ordinary user, or set ANMEI_DATABASE_URL"
        )


def _is_mapped(uid: int) -> bool:
    """Tell whether the account exists in this user namespace (user_namespaces(7))."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except FileNotFoundError:
        return True
    ranges = [(int(first), int(count)) for first, _, count in map(str.split, lines)]
    return any(first <= uid < first + count for first, count in ranges)


def _owner(cluster: Path) -> tuple[int, int] | None:
    try:
        status = cluster.stat()
    except FileNotFoundError:
        return None
    return (status.st_uid, status.st_gid) if status.st_uid != 0 else None


def _unprivileged() -> tuple[int, int]:
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise EmbeddedServerError(
        "PostgreSQL refuses to run as root and there is no account `nobody` to run it under: "
        "create one, start as an ordinary user, or set ANMEI_DATABASE_URL"
    )


def _blocked(path: Path, uid: int, gid: int) -> list[Path]:
    """Return the directories on the way to the path that the account may not pass."""
    blocked = []
    for directory in path.resolve().parents:
        status = directory.stat()
        bit = 0o100 if status.st_uid == uid else 0o010 if status.st_gid == gid else 0o001
        if not status.st_mode & bit:
            blocked.append(directory)
    return blocked


def _capability(blocked: Path, uid: int) -> int:
    """Return the least capability we hold that passes closed directories: reading, else (in containers) overriding."""
    held = _held_capabilities() or 0
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        # Handing one on to another account takes the second.
        if held & 1 << capability and held & 1 << CAP_SETPCAP:
            return capability
    name = pwd.getpwuid(uid).pw_name
    raise EmbeddedServerError(
        f"PostgreSQL refuses to run as root and its account {name} may not pass {blocked}: "
        "allow passing it (chmod o+x), keep data (ANMEI_DATA_DIR=/var/lib/anmei, say) and program elsewhere, "
        "start as an ordinary user, or set ANMEI_DATABASE_URL"
    )


def _held_capabilities() -> int | None:
    """Return the capabilities this process may pass on, as a mask; None where the system knows none."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return None
    masks = [int(mask, 16) for mask in re.findall(r"^Cap(?:Prm|Bnd):\s*([0-9a-f]+)$", status, re.MULTILINE)]
    return masks[0] & masks[1] if len(masks) == 2 else 0
