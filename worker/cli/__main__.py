"""``python -m worker.cli``: the same as the console script `anmei`."""

from worker.cli import main

main()
