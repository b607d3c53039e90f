"""`python -m tests.gateway_proof [faults|personal|canary|slow|all]`: prints tables; exit code 1 when a promise did not hold."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tests.gateway_proof import canary, faults, personal, slow

TABLE = Path(__file__).parents[2] / "docs" / "proof" / "agent-faults.md"
INTRODUCTION = """# What a customer gets when the agent fails

Every fault of the simulated agent (`simulators/dify/faults.py`), {count} registrations each through the signed webhook of a
whole stack: API, workers, two sweepers, MCP server, simulated Dify, PostgreSQL, Redis. Written by
`python -m tests.gateway_proof faults --write`. Times run from acceptance to the stored greeting. Circuits are kept closed, so that
every customer meets the fault, and a failed call is retried once after 0.5 s; an agent call may take 6 s. Where one failure
shows that no call can succeed (a wrong key, no quota) the circuit opens all the same, and later customers get the template
without a call.

"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("faults", "personal", "canary", "slow", "all"))
    parser.add_argument("-n", type=int, help="customers: each fault's (100), in all (1000), or agents at once (200)")
    parser.add_argument("--per-second", type=float, default=15)
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    parser.add_argument("--agent-seconds", type=float, default=5, help="how long an agent takes (slow)")
    parser.add_argument("--threads", type=int, default=256, help="threads of the agents worker (slow)")
    parser.add_argument("--write", action="store_true", help=f"also write {TABLE.name}")
    options = parser.parse_args()
    parts: dict[str, Callable[[argparse.Namespace], list[str]]] = {
        "faults": _faults,
        "personal": _personal,
        "canary": _canary,
        "slow": _slow,
    }
    chosen = parts if options.what == "all" else {options.what: parts[options.what]}
    problems = [problem for part in chosen.values() for problem in part(options)]
    for problem in problems:
        print(f"PROBLEM {problem}", flush=True)
    return 1 if problems else 0


def _faults(options: argparse.Namespace) -> list[str]:
    cases = [case for case in faults.CASES if options.only in case.name]
    lines, problems = [faults.HEAD], []
    print(faults.HEAD, flush=True)
    for row in faults.run(cases, count=options.n or 100, per_second=max(options.per_second, 25)):
        lines.append(row.line())
        problems += row.problems()
        print(row.line(), flush=True)
    if options.write:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(INTRODUCTION.format(count=options.n or 100) + "\n".join(lines) + "\n")
    return problems


def _personal(options: argparse.Namespace) -> list[str]:
    result = personal.run(count=options.n or 1000, per_second=options.per_second)
    print(result.report(), flush=True)
    return result.problems()


def _canary(options: argparse.Namespace) -> list[str]:
    result = canary.run(most=options.n or 1500, per_second=options.per_second)
    print(result.report(), flush=True)
    return result.problems()


def _slow(options: argparse.Namespace) -> list[str]:
    result = slow.run(at_once=options.n or 200, threads=options.threads, agent_seconds=options.agent_seconds)
    print(result.report(), flush=True)
    return result.problems()


if __name__ == "__main__":
    sys.exit(main())
