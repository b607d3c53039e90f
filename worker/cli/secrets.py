"""`anmei secrets`: keys and secrets in rotation."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Keys and secrets in rotation.")


@app.callback()
def secrets() -> None:
    """Keys and secrets in rotation."""


@app.command("rotate")
def rotate(
    webhook: Annotated[bool, typer.Option(help="Make a new webhook secret instead; show it once.")] = False,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old webhook secrets stay valid.")] = 24,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Encrypt every stored secret anew under the first key of ANMEI_SECRET_KEY (`new,old` while both are needed)."""
    import json

    from services import secret_rotation, webhook_secrets

    if webhook:
        _, made = webhook_secrets.rotate(old_valid_hours=overlap_hours, actor="cli")
        secret = made.get_secret_value()
        shown = {"webhook_secret": secret, "old_valid_hours": overlap_hours}
        text = f"new webhook secret, shown this once: {secret}\nthe old ones stay valid for {overlap_hours:g} h"
        typer.echo(json.dumps(shown) if as_json else text)
        return
    counts = secret_rotation.reencrypt_all(actor="cli")
    if as_json:
        typer.echo(json.dumps(counts))
        return
    for column, count in counts.items():
        typer.echo(f"{column}: {count}")
    typer.echo("every stored secret is under the first key of ANMEI_SECRET_KEY; the others can be taken out")
