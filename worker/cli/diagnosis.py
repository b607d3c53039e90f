"""`anmei doctor` and `anmei support-bundle`: what is wrong, and what somebody who helps needs to see."""

from pathlib import Path
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


def support_bundle(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="anmei-support-<time>.tar.gz here, if not given; - for standard output."),
    ] = None,
    logs: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="A further log file; may be repeated.")
    ] = None,
) -> None:
    """Gather versions, settings, findings, figures, queues and the last log lines, without secrets and personal data."""
    from worker.support_bundle import default_path, write_bundle

    path = output or default_path()
    for name in write_bundle(path, logs or []):
        typer.echo(f"  {name}", err=True)
    typer.echo(f"written to {path}; look through it before you send it", err=True)


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)
    app.command()(support_bundle)
