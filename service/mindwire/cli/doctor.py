"""``mindwire doctor``: readiness of this machine for a session."""

import json
from pathlib import Path

import typer

from mindwire.cli import options
from mindwire.cli.console import wrapped
from mindwire.cli.groups import option

SERVICE = "http://127.0.0.1:8000"
_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def doctor(
    seconds: float = option("Time to listen to each stream.", 3.0, min=0.5),
    record: Path = option("Folder for recordings.", Path("recordings")),
    as_json: bool = options.AS_JSON,
    report: Path | None = option(
        "File for the findings with versions, and the settings without tokens, models and states of a running service."
    ),
    service: str = option("With --report: the running service; its token, if any, is MINDWIRE_TOKEN.", SERVICE),
) -> None:
    """Check LSL, network, timers, streams, inference and disk, with advice for each problem."""
    import os
    from dataclasses import asdict

    from rich.console import Console
    from rich.text import Text

    from mindwire.serve.doctor import Verdict, examine

    console = Console(quiet=as_json)
    findings = []
    for finding in examine(seconds, record):
        findings.append(finding)
        line = Text(wrapped(f"{finding.verdict:<8}{finding.what}: {finding.found}.", console.width, 8))
        line.stylize(_STYLES[finding.verdict], 0, len(finding.verdict))
        console.print(line)
        if finding.advice:
            console.print(Text(wrapped(f"{'':<8}{finding.advice}", console.width, 8), "dim"))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    if report is not None:
        from mindwire.serve.problem_report import problem_report

        found = problem_report(findings, service, os.environ.get("MINDWIRE_TOKEN"))
        report.write_text(json.dumps(found, indent=2), encoding="utf-8")
        note = f"Wrote {report}; read it before you send it, for it may name participants."
        console.print(Text(wrapped(note, console.width, 0)))
    if any(finding.verdict is Verdict.FAILURE for finding in findings):
        raise typer.Exit(1)
