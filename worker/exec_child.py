"""Becomes another program, tied to the process that started it. Run as a script, so that no fork of ours runs Python code.

Usage: exec_child.py DEATH_SIGNAL PARENT_PID UID:GID|- CAPABILITY|- PROGRAM [ARGUMENT…]

The program gets DEATH_SIGNAL when the parent dies, however it dies (prctl(2), PR_SET_PDEATHSIG). With UID:GID it runs
under that account; CAPABILITY is a number of capabilities(7) that it keeps there as an ambient one.
Imports nothing but a little of the standard library: it runs before every child.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
# Capabilities survive a change of account, and access(2) counts them (capabilities(7)).
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
# _LINUX_CAPABILITY_VERSION_3: two 32-bit words each of effective, permitted and inheritable.
CAPABILITY_VERSION = 0x20080522


def main(arguments: list[str]) -> None:
    """Change what is asked for and execute the program; returns only by raising."""
    death_signal, parent_pid, account, capability, *program = arguments
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        become(libc, uid, gid, None if capability == "-" else int(capability))
    if libc is not None:
        # After the change of account: that clears it.
        checked(libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0))
        # The parent may have died before the line above; nobody would tell us any more.
        if os.getppid() != int(parent_pid):
            sys.exit(1)
    os.execv(program[0], program)


def become(libc: ctypes.CDLL | None, uid: int, gid: int, capability: int | None) -> None:
    """Change to the account for good, keeping at most the one capability."""
    if libc is not None and capability is not None:
        # Without it access(2) looks at the account alone, and PostgreSQL asks access(2) about its own binaries.
        checked(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    os.chdir("/")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if libc is not None and capability is not None:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        bit = 1 << capability
        checked(libc.capset(header, (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)))
        checked(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))


def checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
