"""``python -m simulators.signup``: send signed registrations, print one JSON line each; exit 1 if one was not accepted."""

import asyncio
import json
import sys
from typing import Annotated

import typer

from simulators.signup.client import SignupService
from simulators.signup.people import registrations


async def send(url: str, secret: str, count: int, rate: float | None, concurrency: int, seed: int | None) -> int:
    """Send and print; return how many were not answered 202."""
    refused = 0
    async with SignupService(url, secret, concurrency=concurrency) as service:
        async for answer in service.send_all(registrations(count, seed=seed), rate_per_second=rate):
            refused += not answer.accepted
            print(json.dumps(answer.as_dict(), ensure_ascii=False), flush=True)
    return refused


def main(
    url: Annotated[str, typer.Option(envvar="SIM_WEBHOOK_URL", help="The webhook's whole address.")],
    secret: Annotated[str, typer.Option(envvar="SIM_WEBHOOK_SECRET", help="whsec_…")],
    n: Annotated[int, typer.Option("--n", help="How many registrations.")] = 20,
    rate: Annotated[
        float | None, typer.Option(help="Per second, whatever the answers do; unset: as answers come.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Most requests at once.")] = 8,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same people.")] = None,
) -> None:
    """Send signed registrations."""
    refused = asyncio.run(send(url, secret, n, rate, concurrency, seed))
    if refused:
        print(f"{refused} of {n} were not answered 202", file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
