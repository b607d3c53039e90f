"""`anmei register`: one signed test registration to the stack that is running."""

from typing import Annotated

import typer


def register(
    username: Annotated[str, typer.Option()] = "测试客户",
    user_id: Annotated[
        str | None, typer.Option(help="A new one if not given; a known one is answered `duplicate`.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="The webhook's address, if not the running stack's.")] = None,
    secret: Annotated[str | None, typer.Option(help="whsec_…, if not the running stack's.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Send one signed test registration to the running stack and print the answer."""
    import json

    from worker.registering import send_registration

    answer = send_registration(username=username, user_id=user_id, url=url, secret=secret)
    if as_json:
        typer.echo(json.dumps({"status": answer.status, "body": answer.body}, ensure_ascii=False))
    else:
        typer.echo(f"{answer.status} {json.dumps(answer.body, ensure_ascii=False)}")
    if answer.status != 202:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    app.command()(register)
