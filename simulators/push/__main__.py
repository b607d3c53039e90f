"""``python -m simulators.push``: receive pushes and alerts until told to end. Every flag has a SIM_* variable."""

from typing import Annotated

import typer

from simulators.push.app import build
from simulators.serve import serve


def main(
    port: Annotated[int, typer.Option(envvar="SIM_PUSH_PORT", help="0 picks a free one.")] = 0,
    host: Annotated[str, typer.Option(envvar="SIM_HOST")] = "127.0.0.1",
    keep: Annotated[int, typer.Option(envvar="SIM_KEEP_RECEIVED", help="How many requests are remembered.")] = 5000,
) -> None:
    """Serve the receiver."""
    serve(build(keep=keep), host=host, port=port)


if __name__ == "__main__":
    typer.run(main)
