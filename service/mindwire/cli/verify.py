"""``mindwire verify``: comparison of a recorded run with its replay."""

from pathlib import Path

import typer

from mindwire.cli import options
from mindwire.cli.console import print_problems, progress_bar
from mindwire.cli.groups import option
from mindwire_models.text import printable


def verify(
    file: options.Recording,
    backend: options.Backend,
    model: list[Path] | None = option(
        "Bundle of the run; by default the one that it names. Repeat for a run that changed its model.",
        None,
        "--model",
        "-m",
    ),
    stream: str | None = option(
        "Name of the stream in the service, if the recording has several.", None, "--stream", "-s"
    ),
    tolerance: float = option("Largest difference in probability that passes.", 1e-6, min=0.0),
) -> None:
    """Replay a recorded run and compare with the predictions, decisions and axes in it.

    Exit code 1 if they differ, the device's own stream is missing, or the file is damaged.

    The replay uses the pipeline's input, which the recording holds in addition to the device's own stream; the two are
    compared as well. Predictions whose samples the recording lacks are counted, and are no contradiction.
    """
    from mindwire.errors import BundleError
    from mindwire.offline.recorded_bundles import find_bundle, kept_bundles, load_models
    from mindwire.offline.recorded_run import recorded_run
    from mindwire.offline.verify import verify as compare
    from mindwire.sources.recording import open_recording
    from mindwire_models.bundle import load_bundle

    opened = open_recording(file)
    run = recorded_run(opened, stream)
    places = [*(model or ()), *(path for used in run.used for path in kept_bundles(file, used.sha256))]
    for path in model or ():
        if (given := load_bundle(path)).sha256 not in [used.sha256 for used in run.used]:
            msg = f"{file} was made with {run.model_name} ({run.model_sha256[:12]}), found {given.name} ({given.sha256[:12]}) at {path}."
            raise BundleError(msg)
    if not model:
        typer.echo(find_bundle(*run.used[0], places)[1])
    bundles, decoders = load_models(run, places, backend.engine, backend.device)
    total = run.recording.source(run.input_id).n_samples
    with progress_bar("Verifying") as progress:
        on_samples = None if progress is None else lambda done: progress(done, total)
        found = compare(run, bundles, decoders, tolerance, on_samples=on_samples)
    print_problems(file, opened.problems)
    for line in found.lines():
        typer.echo(printable(f"{run.stream}: {line}"))
    if found.agrees:
        typer.echo("Replay reproduces every recorded prediction.")
        return
    lacking = f"NOT verified: replay reproduces the recorded predictions, but {found.lacking}."
    typer.echo(lacking if found.reproduced else "Replay does NOT reproduce the recorded predictions.")
    raise typer.Exit(1)
