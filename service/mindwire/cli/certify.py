"""``mindwire certify``: certificate of a recorded session, signed if wanted, and its check."""

from pathlib import Path
from typing import Annotated

import typer

from mindwire.cli import options
from mindwire.cli.console import print_written, progress_bar
from mindwire.cli.groups import Given, option
from mindwire.errors import UsageError
from mindwire_models.text import printable

_OF_CHECK = ("--check", "--public-key")
_OF_JOBS = ("--jobs", "--ray")


def certify(
    given: Given,
    backend: options.Backend,
    jobs: options.Jobs,
    target: Annotated[
        Path | None,
        typer.Argument(metavar="SESSION|RECORDING", help="A session's folder, or what serve --record wrote."),
    ] = None,
    model: list[Path] | None = option(
        "Bundle of a run; by default the session's own, or where the recording says. Repeat for more.",
        None,
        "--model",
        "-m",
    ),
    models: Path | None = option("Folder of bundles, in which those of the runs are found by their hashes."),
    tolerance: float = option("Largest difference in probability that passes.", 1e-6, min=0.0),
    out: options.ReportFolder = Path("report"),
    sign: Path | None = option("Private key to sign the report with.", metavar="KEY"),
    new_key: Path | None = option(
        "Make a pair of keys instead: FILE, to be kept secret, and FILE.pub.", metavar="FILE"
    ),
    check: Path | None = option("Check a report instead, and SESSION|RECORDING against it if given.", metavar="REPORT"),
    public_key: Path | None = option("Public key of the signer, for --check.", metavar="KEY"),
    force: bool = options.FORCE,
) -> None:
    """Derive every prediction and decision of recorded runs again, and write a report to attach to a paper.

    Exit code 1 if anything contradicts the recording, is damaged or, with --check, was changed.

    The report also has latencies, gaps, clocks, adaptation and the hashes of recordings, models and software, and says what
    could not be confirmed. --sign adds a signature (Ed25519), by which --check finds a changed byte.
    """
    from mindwire.evaluation import signing
    from mindwire.outputs import check_report

    if new_key is not None:
        given.refuse("--sign", *_OF_CHECK, "--out", "--model", "--models", *_OF_JOBS, why="--new-key makes keys only")
        print_written(new_key, signing.make_key(new_key))
        return
    if check is not None:
        given.refuse("--sign", "--out", "--model", "--models", *_OF_JOBS, why="--check reads a report")
        _check(check, target, public_key)
        return
    given.refuse("--public-key", why="--public-key belongs to --check")
    if target is None:
        msg = "Name the session's folder or the recording to certify, or a report with --check."
        raise UsageError(msg)
    from mindwire.evaluation.certificate import Search, bundles_in
    from mindwire.evaluation.certificate_report import certify as make
    from mindwire.evaluation.certificate_report import write_certificate

    if models is not None and not models.is_dir():
        msg = f"--models {models}: expected a folder of bundles, found none there."
        raise UsageError(msg)
    key = signing.read_private(sign) if sign is not None else None
    named, places = model or [], bundles_in(models) if models else []
    check_report(out, ("report.json", "report.html"), inputs=[target, *named, *places, sign], force=force)
    parallel = jobs.parallel(given)
    search = Search(named, places, backend.engine, backend.device, tolerance)
    with progress_bar("Deriving again") as progress:
        found = make(target, search, progress, parallel=parallel)
    written = write_certificate(found, out, key)
    for sentence in (*found.faults, *found.of_runs("faults"), *found.of_runs("lacking")):
        typer.echo(printable(sentence), err=True)
    typer.echo(printable(found.verdict))
    if key is None:
        typer.echo("The report is not signed; --sign KEY signs it.")
    print_written(*written)
    raise typer.Exit(0 if found.confirmed else 1)


def _check(report: Path, recording: Path | None, public_key: Path | None) -> None:
    from mindwire.evaluation.certificate_report import check_certificate

    found = check_certificate(report, recording, public_key)
    for sentence in found.notes:
        typer.echo(printable(sentence))
    for sentence in found.changed:
        typer.echo(printable(f"CHANGED: {sentence}"))
    if found.changed:
        raise typer.Exit(1)
    typer.echo("No change was found.")
