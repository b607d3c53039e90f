"""The garbage collector of a process that serves: what it need not look at, and how often it looks at the rest."""

import gc

# Objects that may come and stay before the youngest are gone through; Python's own 700 come together with every few
# registrations under load, and going through them was a tenth of what the processes did. So many take some megabytes.
YOUNG_OBJECTS = 20_000
# More than a process loads at its start, nearly all of which stays: going through it time and again was a fifth of the start.
STARTING_OBJECTS = 1_000_000


def begin() -> None:
    """Have what a process loads at its start left alone, until `settle` or for a command's whole life. Call before the imports."""
    gc.set_threshold(STARTING_OBJECTS, *gc.get_threshold()[1:])


def settle() -> None:
    """Keep all that is loaded by now out of later collections, and make those rarer. Call at the end of a process's start."""
    gc.collect()
    settle_fork()


def settle_fork() -> None:
    """Like `settle` for a child just forked: what it inherited is not gone through, or its pages would be shared no longer."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
