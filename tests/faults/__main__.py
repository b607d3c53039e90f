"""`make faults`: every fault against every broker, as a table; exit code 1 when a guarantee did not hold."""

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.faults.brokers import rabbitmq_available
from tests.faults.cases import CASES, FAKETIME, Case
from tests.faults.orphans import measure as measure_orphans
from tests.faults.run import Counted, run

HEAD = (
    "| fault | broker | accepted | succeeded | dead letters | lost | doubled | agent calls | attempts lost | by template "
    "| greeted after 3 s | slowest greeting, s | pushes repeated | recovery, s |"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=1000, help="journeys for each fault")
    parser.add_argument("--per-second", type=float, default=100)
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), help="only this one")
    parser.add_argument("--only", help="only faults whose name holds this")
    parser.add_argument("--table", type=Path, help="also write the table here")
    options = parser.parse_args()
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lines = [HEAD, "|" + " --- |" * 14]
    print("\n".join(lines), flush=True)
    failed = False
    for case, broker in _runs(options):
        began = time.monotonic()
        try:
            counted = run(case, broker, count=options.n, per_second=options.per_second)
            problems = counted.problems(case)
            line = _line(counted)
        except AssertionError as error:
            problems, line = [str(error)], f"| {case.name} | {broker} | did not settle |"
        lines.append(line)
        print(line, flush=True)
        for problem in problems:
            failed = True
            print(f"  PROBLEM after {time.monotonic() - began:.0f} s: {problem}", flush=True)
    if not options.only:
        lain = measure_orphans()
        middle = lain[len(lain) // 2]
        note = f"orphans taken up after their lease ended: median {middle:.2f} s, longest {lain[-1]:.2f} s ({len(lain)} of them)"
        lines += ["", note]
        print(note, flush=True)
    if options.table:
        options.table.write_text("\n".join(lines) + "\n")
    return 1 if failed else 0


def _runs(options: argparse.Namespace) -> list[tuple[Case, str]]:
    runs = []
    for broker in ("redis", "rabbitmq"):
        if options.broker not in (None, broker):
            continue
        if broker == "rabbitmq" and not rabbitmq_available():
            print("RabbitMQ is not installed (Debian: rabbitmq-server): its runs are left out", file=sys.stderr)
            continue
        for case in CASES:
            if options.only and options.only not in case.name:
                continue
            if case.broker is not None and broker != "redis":
                continue
            if case.environment and not Path(FAKETIME).exists():
                print(f"libfaketime is not installed (Debian: faketime): {case.name!r} is left out", file=sys.stderr)
                continue
            runs.append((case, case.broker or broker))
    return runs


def _line(counted: Counted) -> str:
    one = counted
    lost = one.accepted - one.succeeded - one.dead_letters
    doubled = max(0, one.journeys - one.accepted) + max(0, one.conversations - one.accepted)
    doubled += max(0, one.notifications - one.accepted * 3)
    cells = (
        one.case, one.broker, one.accepted, one.succeeded, one.dead_letters, lost, doubled, one.agent_calls,
        one.attempts_lost, one.by_template, one.greeted_late, f"{one.slowest_greeting_seconds:.2f}",
        one.pushes - one.pushes_distinct, f"{one.recovery_seconds:.1f}",
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
