"""``python -m simulators.oidc``: be an OpenID Connect provider until told to end. Every flag has a SIM_* variable."""

from typing import Annotated

import typer

from simulators.oidc.app import build
from simulators.serve import serve


def main(
    port: Annotated[int, typer.Option(envvar="SIM_OIDC_PORT", help="0 picks a free one.")] = 0,
    host: Annotated[str, typer.Option(envvar="SIM_HOST")] = "127.0.0.1",
    client_id: Annotated[str, typer.Option(envvar="SIM_OIDC_CLIENT_ID")] = "anmei",
    client_secret: Annotated[str, typer.Option(envvar="SIM_OIDC_CLIENT_SECRET", help="Empty: a public client.")] = "",
) -> None:
    """Serve the provider; whoever comes is signed in as PUT /__sim__/person says."""
    serve(build(client_id=client_id, client_secret=client_secret), host=host, port=port)


if __name__ == "__main__":
    typer.run(main)
