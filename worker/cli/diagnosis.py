"""`anmei doctor`: what is wrong, and what to do about it."""

from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Look at everything a stack needs; exit 1 when something is wrong, with a remedy for each."""
    import json

    from worker.doctor import Verdict, examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding.check, finding.verdict.value, finding.detail, finding.remedy)
    if as_json:
        shown = [finding._asdict() | {"verdict": finding.verdict.value} for finding in findings]
        healthy = not any(finding.verdict is Verdict.WRONG for finding in findings)
        typer.echo(json.dumps({"healthy": healthy, "findings": shown}, ensure_ascii=False, indent=2))
    if any(finding.verdict is Verdict.WRONG for finding in findings):
        raise typer.Exit(1)


def _show(check: str, verdict: str, detail: str, remedy: str) -> None:
    colours = {"ok": typer.colors.GREEN, "note": typer.colors.YELLOW, "wrong": typer.colors.RED}
    typer.echo(f"{typer.style(f'{verdict:<6}', fg=colours[verdict])} {check:<22} {detail}")
    if remedy:
        typer.echo(f"{'':<30}→ {remedy}")


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)
