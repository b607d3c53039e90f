"""The garbage collector of a process that serves: what it need not look at, and how often it looks at the rest."""

import gc

# Objects that may come and stay before the youngest are gone through; Python's own 700 come together with every few
# registrations under load, and going through them was a tenth of what the processes did. So many take some megabytes.
YOUNG_OBJECTS = 20_000


def settle() -> None:
    """Keep all that is loaded by now out of later collections, and make those rarer. Call at the end of a process's start."""
    gc.collect()
    settle_fork()


def settle_fork() -> None:
    """Like `settle` for a child just forked: what it inherited is not gone through, or its pages would be shared no longer."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
