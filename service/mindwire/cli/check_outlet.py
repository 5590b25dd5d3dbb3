"""``mindwire check-outlet``: which rules of the convention an outlet or a recording keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mindwire.cli import options
from mindwire.cli.console import print_problems
from mindwire.cli.groups import Given, option
from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.offline.convention.rules import Checked

_LINE_LENGTH = 600


def check_outlet(
    target: Annotated[str, typer.Argument(metavar="NAME|FILE.xdf", help="Name of an LSL outlet, or an XDF recording.")],
    given: Given,
    stream: str | None = option(
        "Stream of the recording: a name, or name=…,type=…,source_id=…,id=… as far as needed; by default all of "
        "probabilities, decisions, axes and markers.",
        None,
        "--stream",
        "-s",
    ),
    timeout: float = option("Seconds to find the outlet.", 5.0, min=0.1),
    seconds: float = option("Seconds to take samples from the outlet.", 5.0, min=0.1),
    as_json: bool = options.AS_JSON,
) -> None:
    """Check which rules of the convention an outlet, or the streams of a recording, keep.

    One line per rule: kept, broken with what was expected and found, or not checked. Exit code 1 if a rule is broken.

    docs/convention.md has the rules and their reasons.
    """
    from mindwire.offline.convention.checks import check_stream, check_together
    from mindwire.offline.convention.rules import Outcome
    from mindwire.offline.convention.streams import is_recording, listen, read_streams
    from mindwire.sources.xdf import XdfRecording

    if is_recording(target):
        given.refuse("--timeout", "--seconds", why="A recording is read as a whole")
        recording = XdfRecording(target)
        streams = read_streams(recording, stream)
        print_problems(Path(target), recording.problems)
    else:
        given.refuse("--stream", why="--stream chooses a stream of a recording")
        streams = [listen(target, timeout, seconds)]
    checked = [*map(check_stream, streams), *check_together(streams)]
    if as_json:
        typer.echo(json.dumps([_document(one) for one in checked], indent=2))
    else:
        for one in checked:
            _print(one)
    outcomes = [finding.outcome for one in checked for finding in one.findings]
    violated = outcomes.count(Outcome.VIOLATED)
    if not as_json:
        counts = ", ".join(f"{outcomes.count(outcome)} {outcome.value}" for outcome in Outcome)
        typer.echo(f"Rules: {counts}.")
    if violated:
        raise typer.Exit(1)


def _print(checked: Checked) -> None:
    typer.echo(printable(f"{checked.name}: {checked.kind.value}, {checked.about}", _LINE_LENGTH))
    for finding in checked.findings:
        typer.echo(printable(f"  {finding}", _LINE_LENGTH))


def _document(checked: Checked) -> dict[str, object]:
    rules = [
        {"id": one.rule.id, "rule": one.rule.plain, "outcome": one.outcome.value, "detail": one.detail}
        for one in checked.findings
    ]
    return {"name": checked.name, "kind": checked.kind.value, "rules": rules}
