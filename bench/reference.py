"""How fast the machine is at this moment: the CPU time of one fixed piece of the interpreter's work.

Shared machines change their speed from hour to hour, by a factor of three and more where we measured. Absolute figures of two
runs compare only as far as their references do; ratios of one run need none.
"""

import time
from statistics import median

ROUNDS = 5
_STEPS = 200_000


def reference_ms() -> float:
    """Return the median CPU milliseconds of a loop of whole-number arithmetic; takes about a tenth of a second."""
    return median(_loop_ms() for _ in range(ROUNDS))


def _loop_ms() -> float:
    began = time.process_time()
    total = 0
    for step in range(_STEPS):
        total += step * step
    return (time.process_time() - began) * 1000
