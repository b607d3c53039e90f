"""`python -m tests.consultants_proof [sockets|claims|pushes|ladder|all]`: prints tables; exit code 1 when a promise did not hold."""

import argparse
import sys
from collections.abc import Callable

from tests.consultants_proof import claims, ladder, pushes, sockets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("sockets", "claims", "pushes", "ladder", "all"))
    parser.add_argument(
        "-n", type=int, help="customers (100), rounds (100), customers pushed (20), customers a rung (10)"
    )
    parser.add_argument("--consultants", type=int, help="at sockets (200), claiming (50)")
    parser.add_argument("--per-second", type=float, default=10, help="registrations (sockets)")
    parser.add_argument("--no-kill", action="store_true", help="leave the processes alone (ladder)")
    options = parser.parse_args()
    parts: dict[str, Callable[[argparse.Namespace], list[str]]] = {
        "sockets": _sockets,
        "claims": _claims,
        "pushes": _pushes,
        "ladder": _ladder,
    }
    chosen = parts if options.what == "all" else {options.what: parts[options.what]}
    problems = [problem for part in chosen.values() for problem in part(options)]
    for problem in problems:
        print(f"PROBLEM {problem}", flush=True)
    return 1 if problems else 0


def _sockets(options: argparse.Namespace) -> list[str]:
    print(sockets.HEAD, flush=True)
    problems = []
    for one in sockets.run(
        consultants=options.consultants or 200, customers=options.n or 100, per_second=options.per_second
    ):
        print(one.line(), flush=True)
        problems += one.problems()
    return problems


def _claims(options: argparse.Namespace) -> list[str]:
    result = claims.run(consultants=options.consultants or 50, rounds=options.n or 100)
    print(result.report(), flush=True)
    return result.problems()


def _pushes(options: argparse.Namespace) -> list[str]:
    result = pushes.run(customers=options.n or 20)
    print(result.report(), flush=True)
    return result.wrong


def _ladder(options: argparse.Namespace) -> list[str]:
    result = ladder.run(customers_each=options.n or 10, kill=not options.no_kill)
    print(result.report(), flush=True)
    return result.problems()


if __name__ == "__main__":
    sys.exit(main())
